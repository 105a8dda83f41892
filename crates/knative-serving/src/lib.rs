//! Keeps Service, Configuration, Revision, Route, PodAutoscaler, ServerlessService and Ingress true; runs the autoscaler.
