"""Analysis of runs: scores, statistics, curves, tables, pictures and pages."""

from .contact_sheet import contact_sheet as contact_sheet
from .figures import (
    learning_curve as learning_curve,
    seed_curves as seed_curves,
    sensitivity_figure as sensitivity_figure,
)
from .predictions import draw_predictions as draw_predictions
