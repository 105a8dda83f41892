package main

import "time"

// trace is what happens to one revision. Times are in milliseconds since the clock's beginning.
type trace struct {
	Settings settings `json:"settings"`
	// When the revision is seen first, and how many of its pods are ready then.
	Begin int64  `json:"begin"`
	Ready int    `json:"ready"`
	Steps []step `json:"steps"`
}

// settings are what the operator and the revision ask for.
type settings struct {
	// The data of config-autoscaler.
	Config               map[string]string `json:"config"`
	Annotations          map[string]string `json:"annotations"`
	ContainerConcurrency int64             `json:"containerConcurrency"`
	Reachability         string            `json:"reachability"`
}

// step is one of the things that can happen.
type step struct {
	At      int64     `json:"at"`
	Stat    *stat     `json:"stat"`
	Silence *struct{} `json:"silence"`
	Ready   *int      `json:"ready"`
	Update  *settings `json:"update"`
	Tick    *struct{} `json:"tick"`
}

// stat is a report, which arrives late by some milliseconds.
type stat struct {
	Concurrency        float64 `json:"concurrency"`
	ProxiedConcurrency float64 `json:"proxiedConcurrency"`
	Requests           float64 `json:"requests"`
	ProxiedRequests    float64 `json:"proxiedRequests"`
	Late               int64   `json:"late"`
}

// answer is what Knative makes of a trace.
type answer struct {
	// Of the settings at the beginning and after each update.
	Specs []spec `json:"specs"`
	// Before anything is measured.
	Unknown decision `json:"unknown"`
	// One for each tick.
	Ticks []tick `json:"ticks"`
}

// spec is what follows from settings alone. Durations are in nanoseconds.
type spec struct {
	Metric              string        `json:"metric"`
	Target              float64       `json:"target"`
	Total               float64       `json:"total"`
	TargetBurstCapacity float64       `json:"targetBurstCapacity"`
	ActivatorCapacity   float64       `json:"activatorCapacity"`
	PanicThreshold      float64       `json:"panicThreshold"`
	MaxScaleUpRate      float64       `json:"maxScaleUpRate"`
	MaxScaleDownRate    float64       `json:"maxScaleDownRate"`
	StableWindow        time.Duration `json:"stableWindow"`
	PanicWindow         time.Duration `json:"panicWindow"`
	ScaleDownDelay      time.Duration `json:"scaleDownDelay"`
	InitialScale        int32         `json:"initialScale"`
	ActivationScale     int32         `json:"activationScale"`
	Reachable           bool          `json:"reachable"`
	MinScale            int32         `json:"minScale"`
	MaxScale            int32         `json:"maxScale"`
}

type decision struct {
	Desired             int32 `json:"desired"`
	ExcessBurstCapacity int32 `json:"excessBurstCapacity"`
}

// tick is what is measured and decided at one time: nothing where nothing is known.
type tick struct {
	Averages *averages `json:"averages"`
	Decision *decision `json:"decision"`
}

type averages struct {
	Stable float64 `json:"stable"`
	Panic  float64 `json:"panic"`
}

// scene is a PodAutoscaler and all that its reconciliation looks at. Times are in seconds.
type scene struct {
	Settings settings `json:"settings"`
	// Of config-deployment.
	ProgressDeadline int64 `json:"progressDeadline"`
	// What the PodAutoscaler says, and for how long.
	Active       active `json:"active"`
	ActiveFor    int64  `json:"activeFor"`
	Initialized  bool   `json:"initialized"`
	DesiredScale *int32 `json:"desiredScale"`
	ServiceName  string `json:"serviceName"`
	// Of its ServerlessService; for how long it has led to the activator, if it does.
	Mode         string `json:"mode"`
	Activators   int32  `json:"activators"`
	ProxiedFor   *int64 `json:"proxiedFor"`
	ServiceReady bool   `json:"serviceReady"`
	// Of its Deployment.
	Replicas int32 `json:"replicas"`
	Ready    int   `json:"ready"`
	// What the autoscaler has decided, and whether the activator answers on the public Service.
	Decision         decision `json:"decision"`
	ActivatorAnswers bool     `json:"activatorAnswers"`
}

// active is the condition of that name.
type active struct {
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// outcome is what a reconciliation makes of a scene.
type outcome struct {
	Replicas     int64  `json:"replicas"`
	Mode         string `json:"mode"`
	Activators   int32  `json:"activators"`
	DesiredScale *int32 `json:"desiredScale"`
	ActualScale  *int32 `json:"actualScale"`
	Active       active `json:"active"`
	Initialized  bool   `json:"initialized"`
}
