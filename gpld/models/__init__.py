"""Networks of DreamerV3 as Equinox modules, written for one sample."""

from .blocks import BlockLinear as BlockLinear, each_block as each_block
from .decoder import Decoder as Decoder
from .distributions import (
    Binary as Binary,
    BoundedNormal as BoundedNormal,
    Categorical as Categorical,
    OneHotCategorical as OneHotCategorical,
    SymexpTwoHot as SymexpTwoHot,
    cross_entropy as cross_entropy,
    symexp as symexp,
    symexp_bins as symexp_bins,
    symlog as symlog,
    symlog_mse as symlog_mse,
    unimix_softmax as unimix_softmax,
)
from .dreamer import Dreamer as Dreamer, parameter_counts as parameter_counts
from .encoder import Encoder as Encoder, split_shapes as split_shapes
from .factored import FactoredMap as FactoredMap
from .forms import Forms as Forms
from .heads import (
    NUM_BINS as NUM_BINS,
    ContinueHead as ContinueHead,
    ContinuousPolicy as ContinuousPolicy,
    DiscretePolicy as DiscretePolicy,
    PolicyHead as PolicyHead,
    TwoHotHead as TwoHotHead,
    apply_heads as apply_heads,
    first_layers as first_layers,
)
from .images import ImageDecoder as ImageDecoder, ImageEncoder as ImageEncoder
from .layers import (
    MLP as MLP,
    Hidden as Hidden,
    Linear as Linear,
    RMSNorm as RMSNorm,
    truncated_normal_init as truncated_normal_init,
)
from .rssm import (
    RSSM as RSSM,
    BlockGRU as BlockGRU,
    Latent as Latent,
    Rollout as Rollout,
    StoredLatent as StoredLatent,
)
from .vectors import (
    NO_CLASSES as NO_CLASSES,
    NumClasses as NumClasses,
    VectorDecoder as VectorDecoder,
    VectorEncoder as VectorEncoder,
)
