//! What a cluster does under the API: Deployment, ReplicaSet, endpoints, owner garbage, scheduler, and the node.
