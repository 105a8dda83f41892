//! The workshop for controllers: informers, index, work queue, Plan and apply.
