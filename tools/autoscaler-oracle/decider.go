package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	asconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"
	kparesources "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

// alignment is what a trace begins at a multiple of: of all that is counted in steps of seconds.
const alignment = time.Minute

var key = types.NamespacedName{Namespace: "default", Name: "revision"}

// pods counts the ready pods as the trace says. There is no other implementation to ask: the real one lists the pods of a cluster.
type pods int

func (p *pods) ReadyCount() (int, error)    { return int(*p), nil }
func (p *pods) NotReadyCount() (int, error) { return 0, nil }

// silent never finds anything: what pods report are steps of the trace.
type silent struct{}

func (silent) Scrape(time.Duration) (metrics.Stat, error) { return metrics.Stat{}, nil }

// revision is what Knative's autoscaler has of one.
type revision struct {
	begun     time.Time
	pods      pods
	metric    string
	collector *metrics.MetricCollector
	scaler    scaling.UniScaler
	answer    answer
}

// answerTo plays a trace, from the next full minute on.
func answerTo(trace *trace) (*answer, error) {
	logger := zap.NewNop().Sugar()
	r := &revision{
		begun:  time.Now().Truncate(alignment).Add(alignment),
		pods:   pods(trace.Ready),
		answer: answer{Ticks: []tick{}},
	}
	r.collector = metrics.NewMetricCollector(scraper, logger)
	defer r.collector.Delete(key.Namespace, key.Name)

	r.sleepUntil(trace.Begin)
	decider, err := r.apply(&trace.Settings)
	if err != nil {
		return nil, err
	}
	if err := r.create(decider, logger); err != nil {
		return nil, err
	}
	for i := range trace.Steps {
		step := &trace.Steps[i]
		r.sleepUntil(step.At)
		if err := r.step(step, logger); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
	}
	return &r.answer, nil
}

// scraper asks nobody where the activator sees every request, as in Knative's own program.
func scraper(metric *autoscalingv1alpha1.Metric, _ *zap.SugaredLogger) (metrics.StatsScraper, error) {
	if metric.Spec.ScrapeTarget == "" {
		return nil, nil
	}
	return silent{}, nil
}

func (r *revision) sleepUntil(at int64) {
	time.Sleep(time.Until(r.begun.Add(time.Duration(at) * time.Millisecond)))
}

// create has a MultiScaler make the decider, and takes its scaler away from it: the trace ticks itself.
func (r *revision) create(decider *scaling.Decider, logger *zap.SugaredLogger) error {
	ctx := context.Background()
	factory := func(decider *scaling.Decider) (scaling.UniScaler, error) {
		r.scaler = scaling.New(ctx, key.Namespace, key.Name, r.collector, &r.pods, &decider.Spec)
		return r.scaler, nil
	}
	deciders := scaling.NewMultiScaler(nil, factory, logger)
	made, err := deciders.Create(ctx, decider)
	if err != nil {
		return err
	}
	deciders.Delete(ctx, key.Namespace, key.Name)
	r.answer.Unknown = decision{made.Status.DesiredScale, made.Status.ExcessBurstCapacity}
	return nil
}

func (r *revision) step(step *step, logger *zap.SugaredLogger) error {
	switch now := time.Now(); {
	case step.Stat != nil:
		s := step.Stat
		r.collector.Record(key, now.Add(-time.Duration(s.Late)*time.Millisecond), metrics.Stat{
			AverageConcurrentRequests:        s.Concurrency,
			AverageProxiedConcurrentRequests: s.ProxiedConcurrency,
			RequestCount:                     s.Requests,
			ProxiedRequestCount:              s.ProxiedRequests,
		})
	case step.Silence != nil:
		r.collector.Record(key, now, metrics.Stat{})
	case step.Ready != nil:
		r.pods = pods(*step.Ready)
	case step.Update != nil:
		decider, err := r.apply(step.Update)
		if err != nil {
			return err
		}
		r.scaler.Update(&decider.Spec)
	case step.Tick != nil:
		r.answer.Ticks = append(r.answer.Ticks, r.tick(now, logger))
	default:
		return errors.New("a step of no kind")
	}
	return nil
}

func (r *revision) tick(now time.Time, logger *zap.SugaredLogger) (tick tick) {
	measure := r.collector.StableAndPanicConcurrency
	if r.metric == autoscaling.RPS {
		measure = r.collector.StableAndPanicRPS
	}
	if stable, panic, err := measure(key, now); err == nil {
		tick.Averages = &averages{stable, panic}
	}
	if result := r.scaler.Scale(logger, now); result.ScaleValid {
		tick.Decision = &decision{result.DesiredPodCount, result.ExcessBurstCapacity}
	}
	return tick
}

// apply measures as the settings say, notes what follows from them, and gives the decider of them.
func (r *revision) apply(settings *settings) (*scaling.Decider, error) {
	config, err := asconfig.NewConfigFromMap(settings.Config)
	if err != nil {
		return nil, fmt.Errorf("settings that Knative refuses: %w", err)
	}
	pa := makePodAutoscaler(settings)
	decider := kparesources.MakeDecider(pa, config)
	metric := resources.MakeMetric(pa, scrapeTarget(decider), config)
	if err := r.collector.CreateOrUpdate(metric); err != nil {
		return nil, err
	}
	r.metric = decider.Spec.ScalingMetric
	r.answer.Specs = append(r.answer.Specs, specOf(pa, &decider.Spec, &metric.Spec, config))
	return decider, nil
}

func makePodAutoscaler(settings *settings) *autoscalingv1alpha1.PodAutoscaler {
	return &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Annotations: settings.Annotations},
		Spec: autoscalingv1alpha1.PodAutoscalerSpec{
			ContainerConcurrency: settings.ContainerConcurrency,
			Reachability:         autoscalingv1alpha1.ReachabilityType(settings.Reachability),
		},
	}
}

// scrapeTarget is whose pods are asked: nobody's where the activator sees every request.
func scrapeTarget(decider *scaling.Decider) string {
	if decider.Spec.TargetBurstCapacity == -1 {
		return ""
	}
	return "revision-private"
}

func specOf(pa *autoscalingv1alpha1.PodAutoscaler, decider *scaling.DeciderSpec, metric *autoscalingv1alpha1.MetricSpec,
	config *autoscalerconfig.Config) spec {
	minScale, maxScale := pa.ScaleBounds(config)
	return spec{
		Metric:              decider.ScalingMetric,
		Target:              decider.TargetValue,
		Total:               decider.TotalValue,
		TargetBurstCapacity: decider.TargetBurstCapacity,
		ActivatorCapacity:   decider.ActivatorCapacity,
		PanicThreshold:      decider.PanicThreshold,
		MaxScaleUpRate:      decider.MaxScaleUpRate,
		MaxScaleDownRate:    decider.MaxScaleDownRate,
		StableWindow:        decider.StableWindow,
		PanicWindow:         metric.PanicWindow,
		ScaleDownDelay:      decider.ScaleDownDelay,
		InitialScale:        decider.InitialScale,
		ActivationScale:     decider.ActivationScale,
		Reachable:           decider.Reachable,
		MinScale:            minScale,
		MaxScale:            maxScale,
	}
}
