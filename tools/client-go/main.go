// A program as people write them with client-go, against the API of the kubeconfig in KUBECONFIG. Its argument is the image of a shell; with
// a second one, the address of Knative's gateway, it is that of samples/hello, and the program goes through the life of a Knative Service.
// It prints a line for each thing that works and ends with 1 at the first that does not.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const namespace = "client-go"

// clients is what every step uses.
type clients struct {
	config  *rest.Config
	typed   kubernetes.Interface
	dynamic dynamic.Interface
	image   string
	gateway string
}

type step struct {
	name string
	run  func(context.Context, *clients) error
}

var steps = []step{
	{"namespace", makeNamespace},
	{"discovery, RESTMapper", discover},
	{"paginated list, selectors", paginate},
	{"server-side apply, conflicts", apply},
	{"dynamic client, a CRD", custom},
	{"watch from bookmarks", bookmarks},
	{"informer with resync, work queue", informer},
	{"leader election by Lease", elect},
	{"exec by websocket and SPDY", execute},
	{"log, port-forward", logAndForward},
	{"scale, eviction under a budget", evict},
	{"namespace gone with all in it", deleteNamespace},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		return fmt.Errorf("usage: %s IMAGE [GATEWAY]", os.Args[0])
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	clients := &clients{config: config, typed: typed, dynamic: untyped, image: os.Args[1]}
	chosen := steps
	if len(os.Args) == 3 {
		clients.gateway, chosen = os.Args[2], servingSteps
	}
	for _, step := range chosen {
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		err := step.run(ctx, clients)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name)
	}
	return nil
}
