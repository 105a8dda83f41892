//! Every Knative noun: types, defaults, validation, conditions, annotation names, CRDs.
