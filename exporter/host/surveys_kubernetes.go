package host

import "github.com/yagura-io/yagura/rules/event"

// kubernetesSurveys are the surveys of a node of Kubernetes: its control plane, its kubelet, and their files.
func (s *Surveys) kubernetesSurveys() []NamedSurvey {
	return []NamedSurvey{
		{Name: "kubernetes", Kinds: []*event.FactKind{
			event.Kubernetes, event.APIServer, event.Encryption, event.AuditPolicy, event.ControllerManager, event.KubeScheduler, event.Etcd, event.EtcdAuthority, event.Kubelet, event.KubeProxy,
		}, Survey: s.Kubernetes},
		{Name: "kubernetes files", Kinds: []*event.FactKind{event.File}, Survey: s.KubernetesFiles},
		{Name: "kubernetes certificates", Kinds: []*event.FactKind{event.Certificate}, Survey: s.KubernetesCertificates},
	}
}
