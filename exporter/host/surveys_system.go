package host

import "github.com/yagura-io/yagura/rules/event"

// systemSurveys are the surveys of the system itself: its kernel, its files, its software.
func (s *Surveys) systemSurveys() []NamedSurvey {
	kinds := func(k ...*event.FactKind) []*event.FactKind { return k }
	return []NamedSurvey{
		{Name: "release", Kinds: kinds(event.Release), Survey: s.Releases},
		{Name: "sysctl", Kinds: kinds(event.Sysctl), Survey: s.Sysctls},
		{Name: "modules", Kinds: kinds(event.Module), Survey: s.Modules},
		{Name: "boot arguments", Kinds: kinds(event.BootArg), Survey: s.BootArgs},
		{Name: "boot loaders", Kinds: kinds(event.Loader), Survey: s.Loaders},
		{Name: "kernel", Kinds: kinds(event.Kernel, event.KernelLine), Survey: s.Kernels},
		{Name: "processor flaws", Kinds: kinds(event.Flaw), Survey: s.Flaws},
		{Name: "mandatory access control", Kinds: kinds(event.LSM), Survey: s.LSMs},
		{Name: "reboot", Kinds: kinds(event.Reboot), Survey: s.Reboots},
		{Name: "mounts", Kinds: kinds(event.Mounted), Survey: s.Mounts},
		{Name: "disks", Kinds: kinds(event.Disk), Survey: s.Disks},
		{Name: "core dumps", Kinds: kinds(event.Coredump), Survey: s.Coredumps},
		{Name: "crash reporters", Kinds: kinds(event.Reporter), Survey: s.Reporters},
		{Name: "packages", Kinds: kinds(event.Package), Survey: s.Packages},
		{Name: "package integrity", Kinds: kinds(event.Integrity), Survey: s.Integrity},
		{Name: "repositories", Kinds: kinds(event.Repository), Survey: s.Repositories},
		{Name: "updates", Kinds: kinds(event.Update), Survey: s.Updates},
		{Name: "banners", Kinds: kinds(event.Banner), Survey: s.Banners},
		{Name: "display manager", Kinds: kinds(event.GDM), Survey: s.GDMs},
		{Name: "desktop settings", Kinds: kinds(event.Dconf), Survey: s.DconfKeys},
		{Name: "system files", Kinds: kinds(event.File), Survey: s.SystemFiles},
		{Name: "file systems", Kinds: kinds(event.Stray, event.SetUID, event.Walk), Survey: s.FileSystemWalk, Prepare: s.Walk},
	}
}
