"""MLflow behind a few verbs: one parent run per pipeline, one child run per network (and seed).

Local first: everything is written to a SQLite file in the run folder, and `sync` sends what is there to a tracking
server. One way to write, so nothing is lost when a server goes away, and a run without a server lacks nothing.
The server is the one that MLFLOW_TRACKING_URI names; it is sent to at every stage's end and when the run closes.
docs/tracking.md says what is where.
"""

from medtea.core.tracking.names import metric_name
from medtea.core.tracking.records import DatasetFacts, ModelFacts
from medtea.core.tracking.server import Sent, sync
from medtea.core.tracking.tracker import NullTracker, Tracker

__all__ = ["DatasetFacts", "ModelFacts", "NullTracker", "Sent", "Tracker", "metric_name", "sync"]
