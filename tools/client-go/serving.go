package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

const (
	servingNamespace = "client-go-serving"
	journey          = "journey"
)

// servingSteps are the life of a Knative Service, by the dynamic client: Knative's own is generated from the same.
var servingSteps = []step{
	{"created", createService},
	{"second revision", updateService},
	{"split by traffic and tags", splitTraffic},
	{"rolled back", rollBack},
	{"deleted", deleteService},
}

func (c *clients) serving(plural string) dynamic.ResourceInterface {
	resource := schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: plural}
	return c.dynamic.Resource(resource).Namespace(servingNamespace)
}

func createService(ctx context.Context, c *clients) error {
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: servingNamespace}}
	if _, err := c.typed.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return err
	}
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1",
		"kind":       "Service",
		"metadata":   map[string]any{"name": journey},
		"spec":       map[string]any{"template": template(c.image, "one")},
	}}
	if _, err := c.serving("services").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	return answers(ctx, c, "Hello one")
}

func updateService(ctx context.Context, c *clients) error {
	if err := change(ctx, c, template(c.image, "two"), "spec", "template"); err != nil {
		return err
	}
	return answers(ctx, c, "Hello two")
}

func splitTraffic(ctx context.Context, c *clients) error {
	if err := change(ctx, c, []any{target("00001", "one", 50), target("00002", "two", 50)}, "spec", "traffic"); err != nil {
		return err
	}
	service, err := ready(ctx, c)
	if err != nil {
		return err
	}
	targets, _, _ := unstructured.NestedSlice(service.Object, "status", "traffic")
	for _, target := range targets {
		tagged := target.(map[string]any)
		said, err := c.ask(ctx, fmt.Sprint(tagged["url"]))
		if err != nil || said != fmt.Sprintf("Hello %v", tagged["tag"]) {
			return fmt.Errorf("%v answers %q: %w", tagged["url"], said, err)
		}
	}
	return answers(ctx, c, "Hello one", "Hello two")
}

func rollBack(ctx context.Context, c *clients) error {
	if err := change(ctx, c, []any{target("00001", "", 100)}, "spec", "traffic"); err != nil {
		return err
	}
	return answers(ctx, c, "Hello one")
}

func deleteService(ctx context.Context, c *clients) error {
	foreground := metav1.DeletePropagationForeground
	if err := c.serving("services").Delete(ctx, journey, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		return err
	}
	for _, plural := range []string{"services", "configurations", "revisions", "routes"} {
		err := until(ctx, func(ctx context.Context) (bool, error) {
			list, err := c.serving(plural).List(ctx, metav1.ListOptions{})
			return err == nil && len(list.Items) == 0, err
		})
		if err != nil {
			return fmt.Errorf("the end of its %s: %w", plural, err)
		}
	}
	return c.typed.CoreV1().Namespaces().Delete(ctx, servingNamespace, metav1.DeleteOptions{})
}

func template(image, name string) map[string]any {
	variable := map[string]any{"name": "TARGET", "value": name}
	container := map[string]any{"image": image, "env": []any{variable}}
	return map[string]any{"spec": map[string]any{"containers": []any{container}}}
}

func target(revision, tag string, percent int64) map[string]any {
	target := map[string]any{"revisionName": journey + "-" + revision, "percent": percent}
	if tag != "" {
		target["tag"] = tag
	}
	return target
}

// change sets a field of the newest Service, and again if somebody was quicker.
func change(ctx context.Context, c *clients, value any, path ...string) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		service, err := c.serving("services").Get(ctx, journey, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedField(service.Object, value, path...); err != nil {
			return err
		}
		_, err = c.serving("services").Update(ctx, service, metav1.UpdateOptions{})
		return err
	})
}

// ready watches the Service until its newest generation is ready.
func ready(ctx context.Context, c *clients) (*unstructured.Unstructured, error) {
	name := fields.OneTermEqualSelector("metadata.name", journey).String()
	source := &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = name
			return c.serving("services").List(ctx, options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = name
			return c.serving("services").Watch(ctx, options)
		},
	}
	event, err := watchtools.UntilWithSync(ctx, source, &unstructured.Unstructured{}, nil, func(event watch.Event) (bool, error) {
		service, ok := event.Object.(*unstructured.Unstructured)
		return ok && isServed(service), nil
	})
	if err != nil {
		return nil, err
	}
	return event.Object.(*unstructured.Unstructured), nil
}

func isServed(service *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(service.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(service.Object, "status", "conditions")
	for _, condition := range conditions {
		one := condition.(map[string]any)
		if one["type"] == "Ready" {
			return one["status"] == "True" && observed == service.GetGeneration()
		}
	}
	return false
}

// answers asks the ready Service often enough for each of its revisions to answer: these do, and no other.
func answers(ctx context.Context, c *clients, expected ...string) error {
	service, err := ready(ctx, c)
	if err != nil {
		return err
	}
	address, _, _ := unstructured.NestedString(service.Object, "status", "url")
	seen := map[string]bool{}
	for range 20 * len(expected) {
		said, err := c.ask(ctx, address)
		if err != nil {
			return err
		}
		seen[said] = true
	}
	for _, one := range expected {
		if !seen[one] || len(seen) != len(expected) {
			return fmt.Errorf("it answers %v, not %v", seen, expected)
		}
	}
	return nil
}

// ask asks the gateway, whatever the machine makes of the name.
func (c *clients) ask(ctx context.Context, address string) (string, error) {
	of, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.gateway, nil)
	if err != nil {
		return "", err
	}
	request.Host = of.Host
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %w", address, answer.Status, err)
	}
	said, _, _ := strings.Cut(string(body), "!")
	return said, nil
}
