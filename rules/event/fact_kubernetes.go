package event

// kubernetesFacts are the kinds of facts of a node of Kubernetes: what runs on it, by its flags and its files. Each is a variable too,
// by which surveys make facts. A machine without Kubernetes has none of them.
var kubernetesFacts = []*FactKind{Kubernetes, APIServer, Encryption, AuditPolicy, ControllerManager, KubeScheduler, Etcd, EtcdAuthority, Kubelet, KubeProxy, Certificate}

// Fields that every part of Kubernetes has.
var (
	kubeRunning = FactField{"running", FactTruth, "Whether it runs; absent if no kernel runs."}
	kubeVersion = FactField{"version", FactText, "Its version by the tag of its image: v1.34.1; absent if that is not known."}
)

// Kubernetes is the node.
var Kubernetes = &FactKind{
	Name: "kubernetes", Doc: "The machine as a node of Kubernetes: one fact.", Of: "the distribution of Kubernetes",
	Fields: []FactField{
		kubeRunning,
		{"distribution", FactText, "kubeadm, k3s, rke2, k0s, microk8s, kops, eks; other if it is none of them."},
		{"control_plane", FactTruth, "Whether an API server, a controller manager or a scheduler runs on it."},
		{"etcd", FactTruth, "Whether etcd runs on it."},
		{"kubelet", FactTruth, "Whether a kubelet runs on it."},
		{"eks", FactTruth, "Whether it is a node of Amazon EKS."},
	},
}

// APIServer is the API server.
var APIServer = &FactKind{
	Name: "apiserver", Doc: "An API server of this node's cluster that runs here, by its flags and the files that they name.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning, kubeVersion,
		{"until", FactText, "The day until which its minor version gets fixes from the Kubernetes project; absent if that is not known."},
		{"supported", FactTruth, "Whether it still gets them; absent if that is not known."},
		{"anonymous_auth", FactTruth, "Whether requests without credentials are taken, as of a user that is anonymous."},
		{"anonymous_paths", FactTexts, "If only those to some paths are: the paths."},
		{"anonymous_health_only", FactTruth, "Whether those to /livez, /readyz and /healthz are the only ones."},
		{"token_auth_file", FactText, "The file of static tokens; empty if none."},
		{"authorization_mode", FactTexts, "Who decides what a user may, in order: Node, RBAC, Webhook …"},
		{"admission_plugins", FactTexts, "Admission plugins that are on, of those that are on by default and those that flags name, sorted."},
		{"enable_bootstrap_token_auth", FactTruth, "Whether tokens for nodes to join are taken."},
		{"allow_privileged", FactTruth, "Whether containers may be privileged at all."},
		{"kubelet_client_certificate", FactText, "The certificate that it shows to kubelets; empty if none."},
		{"kubelet_client_key", FactText, "Its key."},
		{"kubelet_certificate_authority", FactText, "The authority that it knows kubelets by; empty if it believes any."},
		{"client_ca_file", FactText, "The authority that it knows clients by; empty if they cannot show certificates."},
		{"tls_cert_file", FactText, "The certificate that it shows; empty if it makes one itself."},
		{"tls_private_key_file", FactText, "Its key."},
		{"tls_cipher_suites", FactTexts, "Cipher suites of TLS 1.2 that it takes; none if they are left to it."},
		{"tls_min_version", FactText, "The least version of TLS: VersionTLS12 …"},
		{"etcd_servers", FactTexts, "Where its etcd is, as scheme and host."},
		{"etcd_local", FactTruth, "Whether it reaches all of them by a socket on this machine, without TLS."},
		{"etcd_cafile", FactText, "The authority that it knows etcd by; empty if none."},
		{"etcd_certfile", FactText, "The certificate that it shows to etcd; empty if none."},
		{"etcd_keyfile", FactText, "Its key."},
		{"encryption_provider_config", FactText, "The file that says how to encrypt what is stored; empty if none."},
		{"audit_log_path", FactText, "The file that it writes what was done to, - for its output; empty if none."},
		{"audit_log_maxage", FactNumber, "Days that such files are kept, 0 without end."},
		{"audit_log_maxbackup", FactNumber, "How many of them are kept, 0 all."},
		{"audit_log_maxsize", FactNumber, "Megabytes of one, 0 for what the library has as its default."},
		{"audit_policy_file", FactText, "What is written; empty if nothing."},
		{"audit_webhook_config_file", FactText, "Where it is sent besides; empty if nowhere."},
		{"profiling", FactTruth, "Whether its own profile can be asked for."},
		{"request_timeout", FactNumber, "Seconds that a request may take."},
		{"service_account_lookup", FactTruth, "Whether a token of a service account that was deleted is refused."},
		{"service_account_key_file", FactTexts, "The public keys that tokens of service accounts are verified by."},
		{"service_account_extend_token_expiration", FactTruth, "Whether those tokens live for a year, rather than as long as asked for."},
	},
}

// Encryption is how what is stored is encrypted.
var Encryption = &FactKind{
	Name: "encryption", Doc: "How an API server that runs here encrypts Secrets before it stores them.", Of: "the API server",
	Fields: []FactField{
		{"config", FactText, "The file that says so; empty if none does."},
		{"provider", FactText, "What new Secrets are encrypted by: kms, secretbox, aescbc, aesgcm; identity if they are not."},
		{"kms_version", FactText, "v1 or v2, of kms."},
		{"encrypted", FactTruth, "Whether new Secrets are encrypted."},
		{"strong", FactTruth, "Whether by something that needs no care that people forget: kms, secretbox or aescbc, but not aesgcm."},
		{"configmaps", FactTruth, "Whether new ConfigMaps are encrypted too."},
		{"plain_readable", FactTruth, "Whether Secrets that were stored unencrypted can still be read, because identity is among the providers."},
	},
}

// AuditPolicy is what the API server records.
var AuditPolicy = &FactKind{
	Name: "audit_policy", Doc: "What an API server that runs here records of the requests of an ordinary user, by its audit policy: None, Metadata, Request or RequestResponse.", Of: "the API server",
	Fields: []FactField{
		{"file", FactText, "The policy; empty if there is none, and nothing is recorded."},
		{"rules", FactNumber, "How many rules it has."},
		{"secrets", FactText, "Of reading Secrets."},
		{"configmaps", FactText, "Of reading ConfigMaps."},
		{"tokenreviews", FactText, "Of asking whose a token is."},
		{"pods", FactText, "Of creating pods."},
		{"deployments", FactText, "Of changing deployments."},
		{"pod_exec", FactText, "Of running a command in a pod."},
		{"pod_portforward", FactText, "Of a connection to a pod's port."},
		{"pod_proxy", FactText, "Of a request to a pod through the API server."},
		{"service_proxy", FactText, "Of a request to a service through the API server."},
		{"roles", FactText, "Of changing who may what: ClusterRoleBindings."},
	},
}

// ControllerManager is the controller manager.
var ControllerManager = &FactKind{
	Name: "controller_manager", Doc: "A controller manager that runs here, by its flags.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning, kubeVersion,
		{"bind_address", FactText, "The address that it listens at."},
		{"profiling", FactTruth, "Whether its own profile can be asked for."},
		{"terminated_pod_gc_threshold", FactNumber, "Pods that have ended and are kept; 0 and less is all."},
		{"use_service_account_credentials", FactTruth, "Whether each controller has rights of its own."},
		{"service_account_private_key_file", FactText, "The key that tokens of service accounts are signed by; empty if none."},
		{"root_ca_file", FactText, "The authority that pods know the API server by; empty if none."},
		{"rotate_kubelet_server_certificate", FactTruth, "Whether its feature RotateKubeletServerCertificate is on."},
	},
}

// KubeScheduler is the scheduler. The machine's own schedulers of jobs are of another kind.
var KubeScheduler = &FactKind{
	Name: "kube_scheduler", Doc: "A scheduler of pods that runs here, by its flags and its configuration.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning, kubeVersion,
		{"bind_address", FactText, "The address that it listens at."},
		{"profiling", FactTruth, "Whether its own profile can be asked for."},
	},
}

// Etcd is the store.
var Etcd = &FactKind{
	Name: "etcd", Doc: "An etcd that runs here, by its flags, its environment or its configuration.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning, kubeVersion,
		{"data_dir", FactText, "Where it stores what it is told."},
		{"cert_file", FactText, "The certificate that it shows to clients; empty if none."},
		{"key_file", FactText, "Its key."},
		{"trusted_ca_file", FactText, "The authority that it knows clients by."},
		{"client_cert_auth", FactTruth, "Whether clients must show a certificate."},
		{"auto_tls", FactTruth, "Whether it makes the certificate itself, which nobody can verify."},
		{"peer_cert_file", FactText, "The certificate that it shows to others of its kind; empty if none."},
		{"peer_key_file", FactText, "Its key."},
		{"peer_trusted_ca_file", FactText, "The authority that it knows them by."},
		{"peer_client_cert_auth", FactTruth, "Whether they must show a certificate."},
		{"peer_auto_tls", FactTruth, "Whether it makes that certificate itself."},
		{"plain", FactTruth, "Whether others than this machine reach it without TLS."},
		{"plain_clients", FactTexts, "The addresses at which they do."},
	},
}

// EtcdAuthority is who an etcd trusts.
var EtcdAuthority = &FactKind{
	Name: "etcd_authority", Doc: "Whose certificates an etcd that runs here takes, beside whose the cluster takes. Not reported where either is not named here.", Of: "the etcd",
	Fields: []FactField{
		{"etcd_ca", FactText, "The file of the authority that etcd knows its clients by."},
		{"cluster_ca", FactText, "That of the cluster's."},
		{"own", FactTruth, "Whether they have no certificate in common."},
	},
}

// Kubelet is the kubelet.
var Kubelet = &FactKind{
	Name: "kubelet", Doc: "A kubelet that runs here: flags over drop-ins over its configuration file over defaults.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning,
		{"eks", FactTruth, "Whether it is of a node of Amazon EKS."},
		{"config_file", FactText, "Its configuration; empty if it has only flags."},
		{"config_dropins", FactTexts, "Files that change that configuration, in order."},
		{"kubeconfig", FactText, "How it reaches the API server; empty if it does not."},
		{"client_auth", FactText, "How it shows the API server who it is: certificate, exec (a program makes a token), token, other; empty without a kubeconfig."},
		{"anonymous_auth", FactTruth, "Whether requests without credentials are taken."},
		{"webhook_auth", FactTruth, "Whether the API server is asked whose a token is."},
		{"authorization_mode", FactText, "Webhook, if the API server is asked who may what; or AlwaysAllow."},
		{"client_ca_file", FactText, "The authority that it knows clients by; empty if none."},
		{"address", FactText, "The address that it listens at."},
		{"read_only_port", FactNumber, "The port at which everybody may read, 0 if there is none."},
		{"streaming_connection_idle_timeout", FactNumber, "Seconds after which an idle connection to a container is closed, 0 never."},
		{"protect_kernel_defaults", FactTruth, "Whether it refuses to run, rather than change parameters of the kernel."},
		{"make_iptables_util_chains", FactTruth, "Whether it keeps its rules of the firewall in order."},
		{"hostname_override", FactText, "The name of the node that a flag gives; empty if none does."},
		{"event_record_qps", FactNumber, "Events that it records in a second, 0 all."},
		{"tls_cert_file", FactText, "The certificate that it shows; empty if it makes or asks for one itself."},
		{"tls_private_key_file", FactText, "Its key."},
		{"tls_cipher_suites", FactTexts, "Cipher suites of TLS 1.2 that it takes; none if they are left to it."},
		{"tls_min_version", FactText, "The least version of TLS; empty if it is left to it."},
		{"rotate_certificates", FactTruth, "Whether it asks for another client certificate before its own expires."},
		{"server_tls_bootstrap", FactTruth, "Whether it asks the cluster for the certificate that it shows, and again before that expires."},
		{"rotate_kubelet_server_certificate", FactTruth, "Whether its feature RotateKubeletServerCertificate is on."},
		{"pod_pids_limit", FactNumber, "Processes that a pod may have, -1 for as many as the node."},
		{"seccomp_default", FactTruth, "Whether containers that say nothing have the runtime's seccomp profile."},
		{"allowed_unsafe_sysctls", FactTexts, "Parameters of the kernel that pods may set although others would notice."},
		{"static_pod_path", FactText, "Where pods are read from files; empty if nowhere."},
		{"static_pod_url", FactText, "Where pods are fetched from without the API server, as scheme and host; empty if nowhere."},
		{"profiling", FactTruth, "Whether its own profile can be asked for."},
	},
}

// KubeProxy is the proxy.
var KubeProxy = &FactKind{
	Name: "kubeproxy", Doc: "A kube-proxy that runs here, by its flags or its configuration.", Of: "its program; with a number if there are several",
	Fields: []FactField{
		kubeRunning, kubeVersion,
		{"config_file", FactText, "Its configuration, as the machine has it; empty if it has only flags."},
		{"metrics_bind_address", FactText, "The address and port of its metrics; empty if they are off."},
		{"metrics_local", FactTruth, "Whether only this machine reaches them."},
		{"profiling", FactTruth, "Whether its own profile can be asked for there."},
	},
}

// Certificate is a certificate of Kubernetes.
var Certificate = &FactKind{
	Name: "certificate", Doc: "A certificate of the control plane or the kubelet, in a file of its own or in a kubeconfig.", Of: "the file; with a number if there are several in it",
	Fields: []FactField{
		{"path", FactText, "The file."},
		{"purpose", FactText, "Whose: pki, kubelet, kubelet_ca or kubeconfig."},
		{"common_name", FactText, "The common name of its subject."},
		{"organizations", FactTexts, "The organizations of its subject: groups, to Kubernetes."},
		{"issuer", FactText, "The common name of its issuer."},
		{"not_after", FactText, "The day on which it expires, in UTC."},
		{"days_left", FactNumber, "Whole days until then; below 0 once it has expired."},
		{"days_valid", FactNumber, "Days from its first to its last."},
		{"ca", FactTruth, "Whether it is of an authority."},
		{"self_signed", FactTruth, "Whether it is its own issuer."},
		{"key_type", FactText, "rsa, ecdsa, ed25519 or other."},
		{"key_bits", FactNumber, "Bits of its key."},
		{"key_strong", FactTruth, "Whether that is enough: 2048 of rsa, 256 of others."},
		{"signature", FactText, "The algorithm of its signature: SHA256-RSA …"},
		{"signature_strong", FactTruth, "Whether that is neither by MD5 nor by SHA-1, or does not matter, since it is self-signed."},
	},
}
