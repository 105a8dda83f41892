package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
)

// informer runs a small controller: whoever has the label gets an annotation. A resync brings again what did not change.
func informer(ctx context.Context, c *clients) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	selected := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "controlled=yes" })
	factory := informers.NewSharedInformerFactoryWithOptions(c.typed, time.Second, informers.WithNamespace(namespace), selected)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	defer queue.ShutDown()
	var resyncs atomic.Int64
	enqueue := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			queue.Add(key)
		}
	}
	maps := factory.Core().V1().ConfigMaps()
	_, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(old, new any) {
			if old.(*corev1.ConfigMap).ResourceVersion == new.(*corev1.ConfigMap).ResourceVersion {
				resyncs.Add(1)
			}
			enqueue(new)
		},
		DeleteFunc: enqueue,
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	for kind, isSynced := range factory.WaitForCacheSync(ctx.Done()) {
		if !isSynced {
			return fmt.Errorf("%v are not synchronised", kind)
		}
	}
	go work(ctx, c, queue, func(name string) (*corev1.ConfigMap, error) { return maps.Lister().ConfigMaps(namespace).Get(name) })
	const count = 20
	for at := range count {
		data := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("controlled-%d", at), Labels: map[string]string{"controlled": "yes"}}}
		if _, err := c.typed.CoreV1().ConfigMaps(namespace).Create(ctx, data, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	err = until(ctx, func(ctx context.Context) (bool, error) {
		listed, err := c.typed.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: "controlled"})
		done := 0
		for _, item := range listed.Items {
			if item.Annotations["seen"] == "yes" {
				done++
			}
		}
		return done == count && resyncs.Load() >= count, err
	})
	if err != nil {
		return fmt.Errorf("%d resyncs: %w", resyncs.Load(), err)
	}
	options := metav1.ListOptions{LabelSelector: "controlled"}
	if err := c.typed.CoreV1().ConfigMaps(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, options); err != nil {
		return err
	}
	return until(ctx, func(context.Context) (bool, error) { return len(maps.Informer().GetStore().ListKeys()) == 0, nil })
}

func work(ctx context.Context, c *clients, queue workqueue.TypedRateLimitingInterface[string], get func(string) (*corev1.ConfigMap, error)) {
	for {
		key, isOver := queue.Get()
		if isOver {
			return
		}
		if err := reconcile(ctx, c, key, get); err != nil {
			queue.AddRateLimited(key)
		} else {
			queue.Forget(key)
		}
		queue.Done(key)
	}
}

func reconcile(ctx context.Context, c *clients, key string, get func(string) (*corev1.ConfigMap, error)) error {
	_, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	cached, err := get(name)
	if err != nil || cached.Annotations["seen"] == "yes" {
		// It is gone or done.
		return nil
	}
	changed := cached.DeepCopy()
	changed.Annotations = map[string]string{"seen": "yes"}
	_, err = c.typed.CoreV1().ConfigMaps(namespace).Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

// elect has two candidates: one leads, and when it gives up, the other does.
func elect(ctx context.Context, c *clients) error {
	led := make(chan string, 2)
	candidate := func(ctx context.Context, name string) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Name: "leader", Namespace: namespace}, Client: c.typed.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { led <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go candidate(first, "first")
	if err := leads(ctx, led, "first"); err != nil {
		return err
	}
	second, end := context.WithCancel(ctx)
	defer end()
	go candidate(second, "second")
	giveUp()
	if err := leads(ctx, led, "second"); err != nil {
		return err
	}
	lease, err := c.typed.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "second" || *lease.Spec.LeaseTransitions < 1 {
		return fmt.Errorf("the Lease is %v: %w", lease, err)
	}
	return nil
}

func leads(ctx context.Context, led <-chan string, expected string) error {
	select {
	case name := <-led:
		if name != expected {
			return fmt.Errorf("%s leads and not %s", name, expected)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not lead", expected)
	}
}
