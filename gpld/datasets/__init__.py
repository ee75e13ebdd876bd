"""Data of others: episodes that somebody else has recorded, as a replay to train on."""

from .episode import Bounds as Bounds, Episode as Episode, Refused as Refused
from .folder import DataFolder as DataFolder, is_data as is_data
from .importer import Source as Source, import_episodes as import_episodes
from .minari_source import MinariSource as MinariSource, is_minari as is_minari
from .npz import NpzSource as NpzSource
