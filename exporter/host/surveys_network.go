package host

import "github.com/yagura-io/yagura/rules/event"

// networkSurveys are the surveys of services and the network: what runs and listens, what is let in, what is recorded.
func (s *Surveys) networkSurveys() []NamedSurvey {
	kinds := func(k ...*event.FactKind) []*event.FactKind { return k }
	software := &softwareReader{s: s}
	return []NamedSurvey{
		{Name: "services", Kinds: kinds(event.Service, event.LegacyClient), Survey: software.with(s.services)},
		{Name: "units", Kinds: kinds(event.Unit), Survey: software.with(s.unitsSurvey)},
		{Name: "listeners", Kinds: kinds(event.Listener, event.Opening), Survey: s.Listeners},
		{Name: "interfaces", Kinds: kinds(event.Interface), Survey: s.Interfaces},
		{Name: "time", Kinds: kinds(event.Clock, event.KernelClock, event.NTP), Survey: software.with(s.timeSync)},
		{Name: "mail servers", Kinds: kinds(event.MTA), Survey: software.with(s.mailServersSurvey)},
		{Name: "firewalls", Kinds: kinds(event.Firewall, event.Filter), Survey: software.with(s.firewallsSurvey)},
		{Name: "logging", Kinds: kinds(event.Logger, event.Journald, event.JournalUpload, event.Rsyslog, event.Logrotate), Survey: software.with(s.logging)},
		{Name: "log files", Kinds: kinds(event.LogFile), Survey: s.LogFiles},
		{Name: "audit", Kinds: kinds(event.Auditd, event.KernelAudit, event.AuditRule, event.AuditFile), Survey: software.with(s.audit)},
		{Name: "audit files", Kinds: kinds(event.File), Survey: s.AuditFiles},
		{Name: "file integrity", Kinds: kinds(event.FIM), Survey: software.with(s.fileIntegrity)},
	}
}
