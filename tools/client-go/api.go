package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

const pollInterval = 50 * time.Millisecond

// until looks until it is so, or the step's time is over.
func until(ctx context.Context, isSo func(context.Context) (bool, error)) error {
	return wait.PollUntilContextCancel(ctx, pollInterval, true, isSo)
}

func makeNamespace(ctx context.Context, c *clients) error {
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := c.typed.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.typed.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}

func deleteNamespace(ctx context.Context, c *clients) error {
	spaces := c.typed.CoreV1().Namespaces()
	if err := spaces.Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) (bool, error) {
		_, err := spaces.Get(ctx, namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func discover(ctx context.Context, c *clients) error {
	version, err := c.typed.Discovery().ServerVersion()
	if err != nil || version.Major != "1" {
		return fmt.Errorf("version %v: %w", version, err)
	}
	cached := memory.NewMemCacheClient(c.typed.Discovery())
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	for short, kind := range map[string]string{"deploy": "Deployment", "cm": "ConfigMap", "sts": "StatefulSet", "cj": "CronJob"} {
		got, err := mapper.KindFor(schema.GroupVersionResource{Resource: short})
		if err != nil || got.Kind != kind {
			return fmt.Errorf("%s is %v: %w", short, got, err)
		}
	}
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil || mapping.Resource.Resource != "deployments" || mapping.Scope.Name() != "namespace" {
		return fmt.Errorf("mapping %v: %w", mapping, err)
	}
	_, err = mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Nothing"})
	if err == nil {
		return fmt.Errorf("there is a kind Nothing")
	}
	openAPI, err := c.typed.Discovery().OpenAPIV3().Paths()
	if err != nil || openAPI["apis/apps/v1"] == nil {
		return fmt.Errorf("OpenAPI has no apps/v1: %w", err)
	}
	return nil
}

func paginate(ctx context.Context, c *clients) error {
	maps := c.typed.CoreV1().ConfigMaps(namespace)
	const count = 25
	for at := range count {
		labels := map[string]string{"page": "yes", "odd": fmt.Sprint(at%2 == 1)}
		data := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "page-", Labels: labels}}
		if _, err := maps.Create(ctx, data, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	pages, items := 0, map[string]bool{}
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		pages++
		return maps.List(ctx, options)
	})
	list.PageSize = 10
	err := list.EachListItem(ctx, metav1.ListOptions{LabelSelector: "page=yes"}, func(item runtime.Object) error {
		items[item.(*corev1.ConfigMap).Name] = true
		return nil
	})
	if err != nil || pages != 3 || len(items) != count {
		return fmt.Errorf("%d items on %d pages: %w", len(items), pages, err)
	}
	odd, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "page,odd in (true)", Limit: 5})
	if err != nil || len(odd.Items) != 5 || odd.Continue == "" {
		return fmt.Errorf("the odd ones: %v: %w", odd, err)
	}
	return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "page"})
}

func apply(ctx context.Context, c *clients) error {
	maps := c.typed.CoreV1().ConfigMaps(namespace)
	wanted := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"a": "1", "b": "1"})
	if _, err := maps.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	other := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"a": "2"})
	_, err := maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two"})
	if !apierrors.IsConflict(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("another's field is answered with %w", err)
	}
	if _, err := maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two", Force: true}); err != nil {
		return err
	}
	now, err := maps.Get(ctx, "applied", metav1.GetOptions{})
	if err != nil {
		return err
	}
	// What one manager owns is found in the object, changed and applied again.
	mine, err := applycorev1.ExtractConfigMap(now, "one")
	if err != nil || mine.Data["b"] != "1" || len(mine.Data) != 1 {
		return fmt.Errorf("the first manager's part is %v: %w", mine, err)
	}
	delete(mine.Data, "b")
	now, err = maps.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || len(now.Data) != 1 || now.Data["a"] != "2" {
		return fmt.Errorf("after the field was left out: %v: %w", now, err)
	}
	stale := now.DeepCopy()
	stale.ResourceVersion = "1"
	if _, err := maps.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an old version is answered with %w", err)
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		_, err := maps.Patch(ctx, "applied", types.JSONPatchType, []byte(`[{"op":"test","path":"/data/a","value":"2"},{"op":"add","path":"/data/c","value":"3"}]`), metav1.PatchOptions{})
		return err
	})
}

var (
	crds    = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	widgets = schema.GroupVersionResource{Group: "go.example.com", Version: "v1", Resource: "widgets"}
)

func custom(ctx context.Context, c *clients) error {
	size := map[string]any{"type": "integer", "minimum": int64(1), "default": int64(3)}
	spec := map[string]any{"type": "object", "properties": map[string]any{"size": size}, "default": map[string]any{}}
	status := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	root := map[string]any{"type": "object", "properties": map[string]any{"spec": spec, "status": status}}
	version := map[string]any{
		"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": root},
		"subresources": map[string]any{"status": map[string]any{}},
	}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "widgets.go.example.com"},
		"spec": map[string]any{
			"group": "go.example.com", "scope": "Namespaced", "versions": []any{version},
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
		},
	}}
	if _, err := c.dynamic.Resource(crds).Create(ctx, definition, metav1.CreateOptions{}); err != nil {
		return err
	}
	widget := func(name string, spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "go.example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "spec": spec,
		}}
	}
	served := c.dynamic.Resource(widgets).Namespace(namespace)
	err := until(ctx, func(ctx context.Context) (bool, error) {
		_, err := served.Create(ctx, widget("one", map[string]any{}), metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return err
	}
	_, err = served.Create(ctx, widget("bad", map[string]any{"size": int64(0)}), metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) {
		return fmt.Errorf("a size of 0 is answered with %w", err)
	}
	one, err := served.Get(ctx, "one", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if size, _, _ := unstructured.NestedInt64(one.Object, "spec", "size"); size != 3 {
		return fmt.Errorf("the default is %d", size)
	}
	if err := unstructured.SetNestedField(one.Object, "yes", "status", "ready"); err != nil {
		return err
	}
	if one, err = served.UpdateStatus(ctx, one, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if ready, _, _ := unstructured.NestedString(one.Object, "status", "ready"); ready != "yes" || one.GetGeneration() != 1 {
		return fmt.Errorf("the status was not written: %v", one.Object)
	}
	return c.dynamic.Resource(crds).Delete(ctx, "widgets.go.example.com", metav1.DeleteOptions{})
}

// bookmarks has the list streamed by a watch, which says by a bookmark where it ends; from there it goes on.
func bookmarks(ctx context.Context, c *clients) error {
	maps := c.typed.CoreV1().ConfigMaps(namespace)
	yes := true
	watching, err := maps.Watch(ctx, metav1.ListOptions{
		AllowWatchBookmarks: true, SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		return err
	}
	defer watching.Stop()
	seen, version := 0, ""
	for event := range watching.ResultChan() {
		if event.Type == watch.Bookmark {
			object := event.Object.(*corev1.ConfigMap)
			if object.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
				return fmt.Errorf("the bookmark is %v", object)
			}
			version = object.ResourceVersion
			break
		}
		if event.Type != watch.Added {
			return fmt.Errorf("before the bookmark came %v", event)
		}
		seen++
	}
	listed, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil || len(listed.Items) != seen {
		return fmt.Errorf("%d events for %d objects: %w", seen, len(listed.Items), err)
	}
	data := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}}
	if _, err := maps.Create(ctx, data, metav1.CreateOptions{}); err != nil {
		return err
	}
	again, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return err
	}
	defer again.Stop()
	event := <-again.ResultChan()
	if object, is := event.Object.(*corev1.ConfigMap); !is || event.Type != watch.Added || object.Name != "later" {
		return fmt.Errorf("after the bookmark came %v", event)
	}
	return nil
}
