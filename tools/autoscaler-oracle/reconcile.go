package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	fakenetworking "knative.dev/networking/pkg/client/injection/client/fake"
	fakeservices "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/serverlessservice/fake"
	netconfig "knative.dev/networking/pkg/config"
	"knative.dev/pkg/apis"
	fakepods "knative.dev/pkg/client/injection/kube/informers/core/v1/pod/filtered/fake"
	filtered "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	_ "knative.dev/pkg/client/injection/kube/informers/factory/filtered/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	fakedynamic "knative.dev/pkg/injection/clients/dynamicclient/fake"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/network"
	"knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"

	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	asconfig "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/scaling"
	fakeserving "knative.dev/serving/pkg/client/injection/client/fake"
	_ "knative.dev/serving/pkg/client/injection/ducks/autoscaling/v1alpha1/podscalable/fake"
	_ "knative.dev/serving/pkg/client/injection/informers/autoscaling/v1alpha1/metric/fake"
	fakeautoscalers "knative.dev/serving/pkg/client/injection/informers/autoscaling/v1alpha1/podautoscaler/fake"
	"knative.dev/serving/pkg/deployment"
	"knative.dev/serving/pkg/reconciler/autoscaling/kpa"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

// settled is longer than anything that a reconciliation leaves behind: it probes for 45 seconds.
const settled = time.Minute

// cluster is one in which Knative reconciles PodAutoscalers: its clients for tests keep it in memory. It is made once, because what waits for
// the controller's work outlives the controller.
type cluster struct {
	ctx        context.Context
	configMaps *configmap.ManualWatcher
	deciders   *deciders
	reconciler controller.Reconciler
	// Whether the activator answers.
	answers bool
}

func makeCluster() (*cluster, error) {
	ctx := logging.WithLogger(context.Background(), zap.NewNop().Sugar())
	ctx = controller.WithEventRecorder(ctx, &record.FakeRecorder{})
	ctx, _ = injection.Fake.SetupInformers(filtered.WithSelectors(ctx, serving.RevisionUID), &rest.Config{})
	c := &cluster{ctx: ctx, configMaps: &configmap.ManualWatcher{Namespace: system.Namespace()}, deciders: &deciders{}}
	network.DialWithBackOff = c.dial
	impl := kpa.NewController(ctx, c.configMaps, c.deciders)
	c.reconciler = impl.Reconciler
	leader := impl.Reconciler.(reconciler.LeaderAware)
	return c, leader.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {})
}

var theCluster = sync.OnceValues(makeCluster)

// reconcile has Knative reconcile a PodAutoscaler once.
func reconcile(scene *scene) (*outcome, error) {
	c, err := theCluster()
	if err != nil {
		return nil, err
	}
	// What it has started ends before the next.
	defer time.Sleep(settled)
	c.answers, c.deciders.decision = scene.ActivatorAnswers, scene.Decision
	if err := c.configure(scene); err != nil {
		return nil, err
	}
	if err := c.populate(scene); err != nil {
		return nil, err
	}
	if err := c.reconciler.Reconcile(c.ctx, key.String()); err != nil {
		return nil, err
	}
	outcome, err := c.observe()
	return outcome, errors.Join(err, c.clear())
}

// dial connects to the activator, if it answers.
func (c *cluster) dial(context.Context, string, string) (net.Conn, error) {
	if !c.answers {
		return nil, errors.New("nobody listens")
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
			fmt.Fprint(far, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nactivator")
		}
	}()
	return near, nil
}

// deciders have decided already, whatever the PodAutoscaler asks for.
type deciders struct{ decision decision }

func (d *deciders) Get(_ context.Context, _, name string) (*scaling.Decider, error) {
	return nil, apierrors.NewNotFound(autoscalingv1alpha1.Resource("deciders"), name)
}

func (d *deciders) Create(_ context.Context, decider *scaling.Decider) (*scaling.Decider, error) {
	decider.Status.DesiredScale = d.decision.Desired
	decider.Status.ExcessBurstCapacity = d.decision.ExcessBurstCapacity
	return decider, nil
}

func (d *deciders) Update(_ context.Context, decider *scaling.Decider) (*scaling.Decider, error) {
	return decider, nil
}
func (d *deciders) Delete(context.Context, string, string) {}
func (d *deciders) Watch(func(types.NamespacedName))       {}

// configure changes all ConfigMaps. Knative would keep the last good one instead of one that it refuses.
func (c *cluster) configure(scene *scene) error {
	if _, err := asconfig.NewConfigFromMap(scene.Settings.Config); err != nil {
		return fmt.Errorf("settings that Knative refuses: %w", err)
	}
	set := func(name string, data map[string]string) {
		metadata := metav1.ObjectMeta{Namespace: system.Namespace(), Name: name}
		c.configMaps.OnChange(&corev1.ConfigMap{ObjectMeta: metadata, Data: data})
	}
	set(asconfig.ConfigName, scene.Settings.Config)
	set(deployment.ConfigName, map[string]string{
		deployment.QueueSidecarImageKey: "queue",
		deployment.ProgressDeadlineKey:  strconv.FormatInt(scene.ProgressDeadline, 10) + "s",
	})
	set(netconfig.ConfigMapName, nil)
	return nil
}

// populate puts all objects where the reconciler looks for them.
func (c *cluster) populate(scene *scene) error {
	target, err := makeDeployment(scene)
	if err != nil {
		return err
	}
	if _, err := c.deployments().Create(c.ctx, target, metav1.CreateOptions{}); err != nil {
		return err
	}
	// The reconciler's cache of Deployments follows by itself. The ages of the others begin after that.
	time.Sleep(time.Second)

	for number := range scene.Ready {
		if err := c.pods().Add(makePod(number)); err != nil {
			return err
		}
	}
	pa := makeAutoscaler(scene)
	sks := makeService(scene, pa)
	return errors.Join(
		c.autoscalers().Add(pa),
		c.services().Add(sks),
		fakeserving.Get(c.ctx).Tracker().Add(pa),
		fakenetworking.Get(c.ctx).Tracker().Add(sks),
	)
}

// clear takes all objects away again.
func (c *cluster) clear() error {
	for _, cache := range []cache.Indexer{c.autoscalers(), c.services(), c.pods()} {
		if err := cache.Replace(nil, ""); err != nil {
			return err
		}
	}
	serving, networking, dynamic := fakeserving.Get(c.ctx), fakenetworking.Get(c.ctx), fakedynamic.Get(c.ctx)
	// They remember whatever was done.
	defer serving.ClearActions()
	defer networking.ClearActions()
	defer dynamic.ClearActions()
	metrics := autoscalingv1alpha1.SchemeGroupVersion.WithResource("metrics")
	autoscalers := autoscalingv1alpha1.SchemeGroupVersion.WithResource("podautoscalers")
	services := networkingv1alpha1.SchemeGroupVersion.WithResource("serverlessservices")
	return errors.Join(
		serving.Tracker().Delete(metrics, key.Namespace, key.Name),
		serving.Tracker().Delete(autoscalers, key.Namespace, key.Name),
		networking.Tracker().Delete(services, key.Namespace, key.Name),
		c.deployments().Delete(c.ctx, key.Name, metav1.DeleteOptions{}),
	)
}

func (c *cluster) autoscalers() cache.Indexer {
	return fakeautoscalers.Get(c.ctx).Informer().GetIndexer()
}
func (c *cluster) services() cache.Indexer { return fakeservices.Get(c.ctx).Informer().GetIndexer() }
func (c *cluster) pods() cache.Indexer {
	return fakepods.Get(c.ctx, serving.RevisionUID).Informer().GetIndexer()
}

func (c *cluster) deployments() dynamic.ResourceInterface {
	resource := appsv1.SchemeGroupVersion.WithResource("deployments")
	return fakedynamic.Get(c.ctx).Resource(resource).Namespace(key.Namespace)
}

func makeAutoscaler(scene *scene) *autoscalingv1alpha1.PodAutoscaler {
	pa := makePodAutoscaler(&scene.Settings)
	pa.Annotations = kmeta.UnionMaps(pa.Annotations, map[string]string{autoscaling.ClassAnnotationKey: autoscaling.KPA})
	pa.UID = "autoscaler"
	pa.Generation = 1
	pa.Labels = map[string]string{serving.RevisionLabelKey: key.Name}
	pa.Spec.ProtocolType = "http1"
	pa.Spec.ScaleTargetRef = corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: key.Name}
	status := &pa.Status
	status.ObservedGeneration = 1
	status.InitializeConditions()
	status.ServiceName = scene.ServiceName
	status.DesiredScale = scene.DesiredScale
	if scene.Initialized {
		status.MarkScaleTargetInitialized()
	}
	switch scene.Active.Status {
	case "True":
		status.MarkActive()
	case "False":
		status.MarkInactive(scene.Active.Reason, scene.Active.Message)
	default:
		status.MarkActivating(scene.Active.Reason, scene.Active.Message)
	}
	for i := range status.Conditions {
		status.Conditions[i].LastTransitionTime = ago(scene.ActiveFor)
	}
	return pa
}

func makeService(scene *scene, pa *autoscalingv1alpha1.PodAutoscaler) *networkingv1alpha1.ServerlessService {
	sks := resources.MakeSKS(pa, networkingv1alpha1.ServerlessServiceOperationMode(scene.Mode), scene.Activators)
	sks.OwnerReferences = []metav1.OwnerReference{*kmeta.NewControllerRef(pa)}
	status := &sks.Status
	status.PrivateServiceName = key.Name + "-private"
	status.ServiceName = key.Name
	status.InitializeConditions()
	if scene.ServiceReady {
		status.MarkEndpointsReady()
	}
	if scene.ProxiedFor != nil {
		status.MarkActivatorEndpointsPopulated()
		for i := range status.Conditions {
			status.Conditions[i].LastTransitionTime = ago(*scene.ProxiedFor)
		}
	}
	return sks
}

func ago(seconds int64) apis.VolatileTime {
	return apis.VolatileTime{Inner: metav1.NewTime(time.Now().Add(-time.Duration(seconds) * time.Second))}
}

func makeDeployment(scene *scene) (*unstructured.Unstructured, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec:       appsv1.DeploymentSpec{Replicas: &scene.Replicas},
	})
	return &unstructured.Unstructured{Object: object}, err
}

func makePod(number int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace,
			Name:      key.Name + strconv.Itoa(number),
			Labels:    map[string]string{serving.RevisionLabelKey: key.Name},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

// observe reads what the reconciliation has left.
func (c *cluster) observe() (*outcome, error) {
	options := metav1.GetOptions{}
	pa, err := fakeserving.Get(c.ctx).AutoscalingV1alpha1().PodAutoscalers(key.Namespace).Get(c.ctx, key.Name, options)
	if err != nil {
		return nil, err
	}
	sks, err := fakenetworking.Get(c.ctx).NetworkingV1alpha1().ServerlessServices(key.Namespace).Get(c.ctx, key.Name, options)
	if err != nil {
		return nil, err
	}
	target, err := c.deployments().Get(c.ctx, key.Name, options)
	if err != nil {
		return nil, err
	}
	replicas, _, err := unstructured.NestedInt64(target.Object, "spec", "replicas")
	if err != nil {
		return nil, err
	}
	is := pa.Status.GetCondition(autoscalingv1alpha1.PodAutoscalerConditionActive)
	return &outcome{
		Replicas:     replicas,
		Mode:         string(sks.Spec.Mode),
		Activators:   sks.Spec.NumActivators,
		DesiredScale: pa.Status.DesiredScale,
		ActualScale:  pa.Status.ActualScale,
		Active:       active{string(is.Status), is.Reason, is.Message},
		Initialized:  pa.Status.IsScaleTargetInitialized(),
	}, nil
}
