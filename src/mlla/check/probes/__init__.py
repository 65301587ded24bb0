"""The probes, in the order of the report; each takes a `Subject` and returns its findings."""

from mlla.check.probes.exports import probe_exports
from mlla.check.probes.housekeeping import probe_housekeeping
from mlla.check.probes.options import probe_options
from mlla.check.probes.parts import probe_parts
from mlla.check.probes.places import probe_places
from mlla.check.probes.positions import probe_positions
from mlla.check.probes.precision import probe_precision
from mlla.check.probes.published import probe_published
from mlla.check.probes.shapes import probe_shapes

PROBES = (
    probe_shapes,
    probe_places,
    probe_positions,
    probe_published,
    probe_parts,
    probe_options,
    probe_housekeeping,
    probe_precision,
    probe_exports,
)

__all__ = ["PROBES", "probe_shapes"]
