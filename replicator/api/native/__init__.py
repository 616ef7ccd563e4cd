"""The native API: KVService and ClusterService."""
