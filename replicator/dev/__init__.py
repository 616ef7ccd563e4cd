"""A local cluster: one OS process a node, configured, started, watched and stopped from one place.

Exists so that `replicator dev`, the harness, the benchmarks and the tests start the same real nodes in the same way.
Knows: configuration files, processes, and what the public client reports. Must not know: anything inside a node.
"""

from replicator.dev.cluster import LocalCluster
from replicator.dev.cluster_plan import ClusterPlan, NodePlan, SeenAt, plan_cluster
from replicator.dev.processes import NodeProcess
from replicator.dev.tcp_ports import free_ports

__all__ = ["ClusterPlan", "LocalCluster", "NodePlan", "NodeProcess", "SeenAt", "free_ports", "plan_cluster"]
