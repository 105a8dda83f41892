package main

import (
	"reflect"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// A root is a kind that clients send or get; everything reachable from it is in the table.
type root struct {
	group, version string
	kind           reflect.Type
}

func kinds(group, version string, values ...any) []root {
	var out []root
	for _, value := range values {
		out = append(out, root{group, version, reflect.TypeOf(value)})
	}
	return out
}

func roots() []root {
	var all []root
	add := func(more []root) { all = append(all, more...) }
	add(kinds("", "v1",
		corev1.Binding{}, corev1.ConfigMap{}, corev1.Endpoints{}, corev1.Event{}, corev1.LimitRange{}, corev1.Namespace{},
		corev1.Node{}, corev1.PersistentVolume{}, corev1.PersistentVolumeClaim{}, corev1.Pod{}, corev1.PodTemplate{},
		corev1.ReplicationController{}, corev1.ResourceQuota{}, corev1.Secret{}, corev1.Service{}, corev1.ServiceAccount{}))
	add(kinds("apps", "v1", appsv1.ControllerRevision{}, appsv1.DaemonSet{}, appsv1.Deployment{}, appsv1.ReplicaSet{}, appsv1.StatefulSet{}))
	add(kinds("autoscaling", "v1", autoscalingv1.HorizontalPodAutoscaler{}, autoscalingv1.Scale{}))
	add(kinds("autoscaling", "v2", autoscalingv2.HorizontalPodAutoscaler{}))
	add(kinds("batch", "v1", batchv1.CronJob{}, batchv1.Job{}))
	add(kinds("coordination.k8s.io", "v1", coordinationv1.Lease{}))
	add(kinds("discovery.k8s.io", "v1", discoveryv1.EndpointSlice{}))
	add(kinds("events.k8s.io", "v1", eventsv1.Event{}))
	add(kinds("networking.k8s.io", "v1", networkingv1.Ingress{}, networkingv1.IngressClass{}, networkingv1.NetworkPolicy{}))
	add(kinds("node.k8s.io", "v1", nodev1.RuntimeClass{}))
	add(kinds("policy", "v1", policyv1.Eviction{}, policyv1.PodDisruptionBudget{}))
	add(kinds("rbac.authorization.k8s.io", "v1", rbacv1.ClusterRole{}, rbacv1.ClusterRoleBinding{}, rbacv1.Role{}, rbacv1.RoleBinding{}))
	add(kinds("scheduling.k8s.io", "v1", schedulingv1.PriorityClass{}))
	add(kinds("storage.k8s.io", "v1", storagev1.CSIDriver{}, storagev1.StorageClass{}))
	add(kinds("admissionregistration.k8s.io", "v1",
		admissionregistrationv1.MutatingWebhookConfiguration{}, admissionregistrationv1.ValidatingWebhookConfiguration{}))
	add(kinds("apiextensions.k8s.io", "v1", apiextensionsv1.CustomResourceDefinition{}))
	add(kinds("apiregistration.k8s.io", "v1", apiregistrationv1.APIService{}))
	add(kinds("authentication.k8s.io", "v1", authenticationv1.SelfSubjectReview{}, authenticationv1.TokenRequest{}, authenticationv1.TokenReview{}))
	add(kinds("authorization.k8s.io", "v1",
		authorizationv1.LocalSubjectAccessReview{}, authorizationv1.SelfSubjectAccessReview{},
		authorizationv1.SelfSubjectRulesReview{}, authorizationv1.SubjectAccessReview{}))
	add(kinds("meta.k8s.io", "v1", metav1.DeleteOptions{}, metav1.ListMeta{}, metav1.Status{}))
	return all
}
