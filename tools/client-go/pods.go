package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	clientexec "k8s.io/client-go/util/exec"
	"k8s.io/client-go/util/retry"
)

// podSpec answers with "hello" on port 9000 and says a line in its log.
func podSpec(image string) corev1.PodSpec {
	program := "echo started; /busybox mkdir /www; echo hello > /www/index.html; exec /busybox httpd -f -p 9000 -h /www"
	now := int64(0)
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &now,
		Containers: []corev1.Container{{
			Name: "c", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"-c", program},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9000)}}},
		}},
	}
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func execute(ctx context.Context, c *clients) error {
	pods := c.typed.CoreV1().Pods(namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shell"}, Spec: podSpec(c.image)}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	err := until(ctx, func(ctx context.Context) (bool, error) {
		now, err := pods.Get(ctx, "shell", metav1.GetOptions{})
		return err == nil && isReady(now), err
	})
	if err != nil {
		return err
	}
	request := c.typed.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("shell").SubResource("exec")
	request.VersionedParams(&corev1.PodExecOptions{
		Container: "c", Stdin: true, Stdout: true, Stderr: true, Command: []string{"sh", "-c", "/busybox cat; echo err >&2; exit 3"},
	}, scheme.ParameterCodec)
	socket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return err
	}
	streams, err := remotecommand.NewSPDYExecutor(c.config, "POST", request.URL())
	if err != nil {
		return err
	}
	for name, executor := range map[string]remotecommand.Executor{"websocket": socket, "SPDY": streams} {
		var out, complaint bytes.Buffer
		input := strings.Repeat("0123456789", 100_000)
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &complaint})
		var code clientexec.CodeExitError
		if !errors.As(err, &code) || code.Code != 3 || out.String() != input || complaint.String() != "err\n" {
			return fmt.Errorf("%s: %d bytes, %q, %v", name, out.Len(), complaint.String(), err)
		}
	}
	return nil
}

func logAndForward(ctx context.Context, c *clients) error {
	log, err := c.typed.CoreV1().Pods(namespace).GetLogs("shell", &corev1.PodLogOptions{}).Do(ctx).Raw()
	if err != nil || string(log) != "started\n" {
		return fmt.Errorf("the log is %q: %w", log, err)
	}
	url := c.typed.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("shell").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return err
	}
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", url)
	overSocket, err := portforward.NewSPDYOverWebsocketDialer(url, c.config)
	if err != nil {
		return err
	}
	if err := forwarded(ctx, func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
		return portforward.NewOnAddresses(overSPDY, []string{"127.0.0.1"}, []string{"0:9000"}, stop, ready, io.Discard, io.Discard)
	}); err != nil {
		return fmt.Errorf("SPDY: %w", err)
	}
	if err := forwarded(ctx, func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
		return portforward.NewOnAddresses(overSocket, []string{"127.0.0.1"}, []string{"0:9000"}, stop, ready, io.Discard, io.Discard)
	}); err != nil {
		return fmt.Errorf("websocket: %w", err)
	}
	return nil
}

func forwarded(ctx context.Context, start func(stop, ready chan struct{}) (*portforward.PortForwarder, error)) error {
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := start(stop, ready)
	if err != nil {
		return err
	}
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		return fmt.Errorf("it ended: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	defer close(stop)
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local))
	response, err := http.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "hello\n" {
		return fmt.Errorf("it answered %q: %w", body, err)
	}
	return nil
}

// evict has two Pods of which one must stay: the second eviction is refused until the first Pod is replaced.
func evict(ctx context.Context, c *clients) error {
	labels := map[string]string{"app": "evicted"}
	one := int32(1)
	deployments := c.typed.AppsV1().Deployments(namespace)
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "evicted"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(c.image)},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	least := intstr.FromInt32(1)
	budgets := c.typed.PolicyV1().PodDisruptionBudgets(namespace)
	_, err = budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "evicted"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: labels}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	healthy := func(count int32) error {
		return until(ctx, func(ctx context.Context) (bool, error) {
			budget, err := budgets.Get(ctx, "evicted", metav1.GetOptions{})
			return err == nil && budget.Status.CurrentHealthy == count && budget.Status.ObservedGeneration == budget.Generation, err
		})
	}
	if err := healthy(1); err != nil {
		return fmt.Errorf("one healthy Pod: %w", err)
	}
	first, err := evictAny(ctx, c)
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		return fmt.Errorf("eviction of the only Pod is answered with %v", err)
	}
	// The Deployment's status may be written meanwhile.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		scale, err := deployments.GetScale(ctx, "evicted", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 2
		_, err = deployments.UpdateScale(ctx, "evicted", scale, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	if err := healthy(2); err != nil {
		return fmt.Errorf("two healthy Pods: %w", err)
	}
	if first, err = evictAny(ctx, c); err != nil {
		return fmt.Errorf("eviction of one of two: %w", err)
	}
	err = until(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.typed.CoreV1().Pods(namespace).Get(ctx, first, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		return err
	}
	return healthy(2)
}

// evictAny evicts one of the Deployment's Pods and says which.
func evictAny(ctx context.Context, c *clients) (string, error) {
	pods, err := c.typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=evicted", FieldSelector: "status.phase=Running"})
	if err != nil || len(pods.Items) == 0 {
		return "", fmt.Errorf("there is no Pod: %w", err)
	}
	name := pods.Items[0].Name
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	return name, c.typed.PolicyV1().Evictions(namespace).Evict(ctx, eviction)
}
