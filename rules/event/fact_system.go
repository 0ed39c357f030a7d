package event

// systemFacts are the kinds of facts of the system itself: its kernel, its files, its software. Each is a variable too, by which
// surveys make facts.
var systemFacts = []*FactKind{
	File, Sysctl, Module, BootArg, Loader, Kernel, KernelLine, Flaw, LSM, Release, Reboot, Mounted, Disk, Coredump, Reporter, Package, Repository, Update, Integrity,
	Banner, GDM, Dconf, Stray, SetUID, Walk,
}

// File is shared by all areas: what is at a well-known path.
var File = &FactKind{
	Name: "file", Doc: "What is at a well-known path, symbolic links followed.", Of: "the path",
	Fields: []FactField{
		{"path", FactText, "The path."},
		{"purpose", FactText, "What well-known file it is, wherever this distribution has it: passwd, shadow, sshd_config, kubelet_config …"},
		{"exists", FactTruth, "Whether there is anything."},
		{"link", FactText, "If the path is a symbolic link: its text."},
		{"type", FactText, "file, directory, pipe, socket or device."},
		{"size", FactNumber, "Bytes."},
		{"mode", FactNumber, "The permission bits with setuid, setgid and sticky, as a number: 0644 is 420."},
		{"mode_octal", FactText, "The same as four octal digits: 0644."},
		{"owner", FactText, "The owner's name; absent if /etc/passwd has none."},
		{"group", FactText, "The group's name; absent if /etc/group has none."},
		{"uid", FactNumber, "The owner's number."},
		{"gid", FactNumber, "The group's number."},
		{"group_read", FactTruth, "Its group may read it."},
		{"group_write", FactTruth, "Its group may write to it."},
		{"group_exec", FactTruth, "Its group may execute it, or enter it."},
		{"other_read", FactTruth, "Everybody may read it."},
		{"other_write", FactTruth, "Everybody may write to it."},
		{"other_exec", FactTruth, "Everybody may execute it, or enter it."},
		{"setuid", FactTruth, "It runs as its owner."},
		{"setgid", FactTruth, "It runs as its group, or what is made in it has its group."},
		{"sticky", FactTruth, "What is in it may only be removed by its owner."},
	},
}

// Sysctl is a parameter of the kernel.
var Sysctl = &FactKind{
	Name: "sysctl", Doc: "A parameter of the kernel: every well-known one, and every one that a file sets.", Of: "the parameter as sysctl(8) writes it: net.ipv4.ip_forward",
	Running: []string{"exists", "value", "number", "lasting"},
	Fields: []FactField{
		{"exists", FactTruth, "Whether the running kernel has it; absent if no kernel runs."},
		{"value", FactText, "What it is now. Where no kernel runs, what it will be: what the files set, or else what every kernel begins with."},
		{"number", FactNumber, "The value, if it is a number."},
		{"configured", FactText, "What the files set it to at the next boot; absent if none does."},
		{"default", FactText, "What every kernel begins with, or this one by the configuration that it was built with; absent if that is not known."},
		{"lasting", FactTruth, "Whether the value will be so after the next boot, as far as the files and the default tell."},
	},
}

// Module is a module of the kernel.
var Module = &FactKind{
	Name: "module", Doc: "A module of the kernel that few machines need.", Of: "its name, with underscores",
	Running: []string{"loaded"},
	Fields: []FactField{
		{"exists", FactTruth, "Whether a kernel that is installed or runs has it, in a file or built in."},
		{"builtin", FactTruth, "Whether it is part of the kernel itself."},
		{"loaded", FactTruth, "Whether it is in the running kernel; absent if none runs."},
		{"disabled", FactTruth, "Whether loading it by its name is refused: a line `install NAME /bin/false`, or module_blacklist of the kernel's command line."},
		{"blacklisted", FactTruth, "Whether a line `blacklist NAME` keeps it from being loaded because something asks for its function."},
		{"usable", FactTruth, "Whether it is loaded or built in, or could be loaded by its name."},
		{"autoload", FactTruth, "Whether it is loaded or built in, or would be as soon as something asks for its function."},
	},
}

// BootArg is an argument of the kernel's command line.
var BootArg = &FactKind{
	Name: "bootarg", Doc: "A well-known argument of the kernel's command line.", Of: "its name",
	Fields: []FactField{
		{"exists", FactTruth, "Whether the running kernel was given it; where none runs, whether the boot loader gives it."},
		{"value", FactText, "What stands behind its =, of the last if there are several; empty without one."},
		{"values", FactTexts, "All of them, of every one that was given, parted at commas."},
		{"built", FactText, "What the kernel does without it, by the configuration that it was built with; absent if that is not known."},
		{"lasting", FactTruth, "Whether no entry in the boot loader's configuration says otherwise."},
	},
}

// Loader is a boot loader.
var Loader = &FactKind{
	Name: "loader", Doc: "A boot loader whose configuration is there.", Of: "its name: grub, systemd-boot or extlinux",
	Fields: []FactField{
		{"config", FactText, "The path of its configuration."},
		{"password", FactTruth, "Whether a password is wanted of who edits an entry: a superuser with one, or the menu's master password."},
		{"hashed", FactTruth, "Whether that password is kept as a hash only."},
		{"editor", FactTruth, "Whether somebody at the console may edit an entry without a password."},
	},
}

// Kernel is the kernel.
var Kernel = &FactKind{
	Name: "kernel", Doc: "The kernel: the running one, or the newest that is installed.", Of: "its release as uname(1) writes it",
	Running: []string{"newest_runs", "lockdown", "efi", "secure_boot", "signatures", "tainted", "unsigned_module", "foreign_module", "forced_module", "died"},
	Fields: []FactField{
		{"line", FactText, "The stable line that it belongs to: 6.1."},
		{"newest", FactText, "The newest release that is installed."},
		{"newest_runs", FactTruth, "Whether that is the running one; absent if none runs or none is installed."},
		{"lockdown", FactText, "none, integrity or confidentiality; absent if none runs or it does not know the feature."},
		{"efi", FactTruth, "Whether the machine was started by UEFI."},
		{"secure_boot", FactTruth, "Whether its firmware verified what it started; absent without UEFI."},
		{"signatures", FactTruth, "Whether it refuses modules without a valid signature; absent if none runs or that cannot be told."},
		{"tainted", FactNumber, "Its taint, as a number."},
		{"unsigned_module", FactTruth, "Whether a module without a valid signature was loaded."},
		{"foreign_module", FactTruth, "Whether a module from outside of its sources was loaded."},
		{"forced_module", FactTruth, "Whether a module was loaded or removed by force."},
		{"died", FactTruth, "Whether it has had an oops."},
	},
}

// KernelLine is whether somebody still mends the kernel.
var KernelLine = &FactKind{
	Name: "kernelline", Doc: "The line of kernels that the running one, or the newest that is installed, belongs to, and how long it is maintained.", Of: "its number: 6.1",
	Fields: []FactField{
		{"release", FactText, "The kernel's release as uname(1) writes it."},
		{"vendor", FactText, "The distribution that built it, by its release: debian, ubuntu, rhel, amzn, alpine, bottlerocket …; absent if that does not tell."},
		{"until", FactText, "The day until which it gets security fixes, of the distribution if that built it, else of kernel.org; absent if unknown."},
		{"days_left", FactNumber, "Days until then; below 0 once that has passed."},
		{"supported", FactTruth, "Whether it still gets fixes."},
	},
}

// Flaw is a vulnerability of processors.
var Flaw = &FactKind{
	Name: "flaw", Doc: "A vulnerability of processors, as the running kernel judges it.", Of: "its name in /sys/devices/system/cpu/vulnerabilities",
	Fields: []FactField{
		{"state", FactText, "unaffected, mitigated, vulnerable or unknown."},
		{"status", FactText, "The kernel's own words."},
		{"smt", FactText, "What it says of threads that share a core: disabled, mitigated, vulnerable; empty if nothing."},
	},
}

// LSM is mandatory access control.
var LSM = &FactKind{
	Name: "lsm", Doc: "Mandatory access control: one fact for the machine.", Of: "the machine",
	Running: []string{"modules", "active", "enforcing", "apparmor_profiles", "apparmor_enforcing", "apparmor_complaining", "apparmor_unconfined", "selinux_mode"},
	Fields: []FactField{
		{"usual", FactText, "What this distribution brings: apparmor or selinux; absent if neither."},
		{"modules", FactTexts, "The security modules of the running kernel, in their order; absent if none runs."},
		{"active", FactText, "Which one is at work with a policy: apparmor, selinux, smack, tomoyo or none; absent if no kernel runs."},
		{"enforcing", FactTruth, "Whether that one forbids, and does not only record."},
		{"apparmor_installed", FactTruth, "Whether its parser is installed."},
		{"apparmor_profiles", FactNumber, "Profiles that are loaded; absent if the kernel has no AppArmor or does not tell."},
		{"apparmor_enforcing", FactNumber, "Those that forbid (enforce and kill)."},
		{"apparmor_complaining", FactNumber, "Those that only record."},
		{"apparmor_unconfined", FactNumber, "Those that do neither: they are loaded and allow everything."},
		{"selinux_mode", FactText, "enforcing, permissive or disabled, now; absent if no kernel runs."},
		{"selinux_configured", FactText, "What /etc/selinux/config says for the next boot; absent if it does not."},
		{"selinux_type", FactText, "The policy that it names."},
	},
}

// Release is the distribution.
var Release = &FactKind{
	Name: "release", Doc: "The distribution, by os-release.", Of: "its id and version: debian 12",
	Fields: []FactField{
		{"id", FactText, "debian, ubuntu, rhel, amzn, alpine, bottlerocket …"},
		{"version", FactText, "VERSION_ID."},
		{"name", FactText, "PRETTY_NAME."},
		{"family", FactText, "debian, rhel, alpine, bottlerocket or suse; absent for others."},
		{"rolling", FactTruth, "Whether it has no releases that end: unstable branches, and those that replace themselves as a whole."},
		{"until", FactText, "The day until which everybody gets security fixes; absent if unknown."},
		{"extended", FactText, "The day until which those get them who have bought it; absent if nobody sells it or it is unknown."},
		{"subscribed", FactTruth, "Whether this machine is set up to get the extended fixes."},
		{"days_left", FactNumber, "Days until the fixes end that this machine gets; below 0 once they have."},
		{"supported", FactTruth, "Whether it still gets fixes."},
	},
}

// Reboot says whether the machine waits to be booted.
var Reboot = &FactKind{
	Name: "reboot", Doc: "Whether what runs is older than what is installed.", Of: "the machine",
	Fields: []FactField{
		{"pending", FactTruth, "Whether a package asks for a reboot, or a newer kernel is installed than runs."},
		{"reasons", FactTexts, "Why: packages and kernels."},
	},
}

// Mounted is a mounted file system.
var Mounted = &FactKind{
	Name: "mount", Doc: "A file system that is mounted, or by fstab and units will be; and the well-known directories that should be separate.", Of: "the directory",
	Running: []string{"removable", "separate"},
	Fields: []FactField{
		{"separate", FactTruth, "Whether a file system is mounted at just this directory; absent where that is up to a kernel or an init that does not run."},
		{"type", FactText, "Its type: ext4."},
		{"device", FactText, "What is mounted."},
		{"options", FactTexts, "Its options, of the mount and of the file system."},
		{"configured", FactTruth, "Whether fstab or a unit mounts it at boot."},
		{"nodev", FactTruth, "Device files do not work in it: it is mounted so, and fstab or a unit that mounts it says so too."},
		{"nosuid", FactTruth, "Setuid programs do not work in it, likewise."},
		{"noexec", FactTruth, "Programs in it do not run, likewise."},
		{"read_only", FactTruth, "It cannot be written to, likewise."},
		{"local", FactTruth, "It lies on a device of this machine."},
		{"remote", FactTruth, "It is another machine's."},
		{"removable", FactTruth, "It lies on a device that can be taken away; absent if that is not known."},
	},
}

// Disk is where data rests.
var Disk = &FactKind{
	Name: "disk", Doc: "A file system on a block device, or swap space.", Of: "its device",
	Fields: []FactField{
		{"at", FactTexts, "Where it is mounted."},
		{"type", FactText, "The type of its file system, or swap."},
		{"swap", FactTruth, "Whether it is swap space."},
		{"boot", FactTruth, "Whether it only holds what boots the machine, which must be read before anything can be decrypted."},
		{"encrypted", FactTruth, "Whether what is written to it passes through dm-crypt. What lies below the machine, such as a cloud's encrypted volume, it cannot see."},
	},
}

// Coredump is what becomes of the memory of programs that crash.
var Coredump = &FactKind{
	Name: "coredump", Doc: "What becomes of the memory of programs that crash: one fact for sessions, one for services.", Of: "sessions or services",
	Running: []string{"pattern"},
	Fields: []FactField{
		{"limited", FactTruth, "Whether limits.conf sets a hard limit of 0 for everybody's sessions."},
		{"service_limit", FactText, "DefaultLimitCORE of systemd; absent if it is not set."},
		{"collector", FactTruth, "Whether systemd-coredump is installed."},
		{"storage", FactText, "Its Storage: external, journal or none."},
		{"size_max", FactText, "Its ProcessSizeMax; absent if it is not set."},
		{"pattern", FactText, "kernel.core_pattern; absent if no kernel runs and no file sets it."},
	},
}

// Reporter is a service that sends reports of crashes.
var Reporter = &FactKind{
	Name: "reporter", Doc: "A program that collects crashes to report them to others.", Of: "its name: apport, whoopsie or abrt",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed."},
		{"enabled", FactTruth, "Whether it collects."},
	},
}

// Package is a software package.
var Package = &FactKind{
	Name: "package", Doc: "A package that should, or should not, be there.", Of: "its name; where distributions differ the commonest",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed."},
		{"version", FactText, "Its version; absent if it was only found by its files."},
		{"manager", FactText, "How that is known: dpkg, apk, or files."},
	},
}

// Repository is where packages come from.
var Repository = &FactKind{
	Name: "repository", Doc: "A place that packages are installed from.", Of: "its address and suite, or its section",
	Fields: []FactField{
		{"manager", FactText, "apt, dnf or apk."},
		{"address", FactText, "Its address."},
		{"enabled", FactTruth, "Whether it is in use."},
		{"verified", FactTruth, "Whether what comes from it is refused without a valid signature."},
		{"own_key", FactTruth, "Whether the configuration says which key may sign it, and not any that is trusted at all; absent where that is not known."},
		{"encrypted", FactTruth, "Whether it is reached by TLS or lies on this machine."},
	},
}

// Update is how the machine is kept up to date.
var Update = &FactKind{
	Name: "update", Doc: "How packages are kept up to date: one fact for the machine.", Of: "the package manager: apt, dnf or apk",
	Fields: []FactField{
		{"automatic", FactTruth, "Whether security fixes are installed without anybody."},
		{"age_days", FactNumber, "Days since the lists of packages were fetched; absent if that is not known."},
		{"unsigned_allowed", FactTruth, "Whether the configuration lets packages or lists without a signature in."},
	},
}

// Integrity is whether the files of a package are those that it brought.
var Integrity = &FactKind{
	Name: "integrity", Doc: "Whether the programs and libraries of a package that security rests on are those that it brought.", Of: "the package",
	Fields: []FactField{
		{"files", FactNumber, "Files that were compared."},
		{"differing", FactNumber, "Those whose content differs."},
		{"missing", FactNumber, "Those that are not there."},
		{"names", FactTexts, "Those that differ or are not there, the first 20."},
	},
}

// Banner is a text that is shown before or after a login.
var Banner = &FactKind{
	Name: "banner", Doc: "A text that is shown around a login.", Of: "the path",
	Fields: []FactField{
		{"purpose", FactText, "motd, issue or issue_net."},
		{"exists", FactTruth, "Whether there is one."},
		{"words", FactNumber, "Its words, escapes of agetty not counted."},
		{"discloses", FactTruth, `Whether it tells the system's name, release or architecture: the escapes \m, \r, \s, \v, or the distribution's name.`},
	},
}

// GDM is the login screen of GNOME.
var GDM = &FactKind{
	Name: "gdm", Doc: "The GNOME display manager, if it is installed.", Of: "the path of its configuration",
	Fields: []FactField{
		{"xdmcp", FactTruth, "Whether it lets other machines' screens log in over the unencrypted XDMCP."},
		{"autologin", FactTruth, "Whether it logs somebody in without a password."},
	},
}

// Dconf is a setting of the desktop.
var Dconf = &FactKind{
	Name: "dconf", Doc: "A setting of the desktop for everybody, if the GNOME display manager is installed.", Of: "its key",
	Fields: []FactField{
		{"exists", FactTruth, "Whether a system database sets it."},
		{"value", FactText, "Its value, without quotes and types."},
		{"number", FactNumber, "The value, if it is a number."},
		{"locked", FactTruth, "Whether users cannot change it."},
	},
}

// Stray is a file that nobody minds.
var Stray = &FactKind{
	Name: "stray", Doc: "A file or directory that anybody may change, or that belongs to nobody.", Of: "the path",
	Fields: []FactField{
		{"type", FactText, "file or directory, or what else it is."},
		{"mode_octal", FactText, "Its permissions."},
		{"uid", FactNumber, "Its owner's number."},
		{"gid", FactNumber, "Its group's number."},
		{"writable", FactTruth, "Whether it is a file that everybody may write to, or a directory in which everybody may remove other people's files."},
		{"unowned", FactTruth, "Whether no user has its owner's number."},
		{"ungrouped", FactTruth, "Whether no group has its group's number."},
	},
}

// SetUID is a program that runs as somebody else.
var SetUID = &FactKind{
	Name: "setuid", Doc: "A program that runs as its owner or its group, whoever starts it.", Of: "the path",
	Fields: []FactField{
		{"setuid", FactTruth, "It runs as its owner."},
		{"setgid", FactTruth, "It runs as its group."},
		{"uid", FactNumber, "Its owner's number."},
		{"gid", FactNumber, "Its group's number."},
		{"mode_octal", FactText, "Its permissions."},
		{"writable", FactTruth, "Whether somebody beside its owner may write to it."},
		{"packaged", FactTruth, "Whether a package brought it; absent if no database of packages could tell."},
		{"package", FactText, "Which one."},
	},
}

// Walk is the walk over the file systems of which facts of kinds stray and setuid come.
var Walk = &FactKind{
	Name: "walk", Doc: "The walk over local file systems that looks for stray files and setuid programs.", Of: "the root",
	Fields: []FactField{
		{"entries", FactNumber, "Files and directories that were looked at."},
		{"complete", FactTruth, "Whether that was all."},
		{"cut", FactText, "Why it was not."},
		{"ended", FactNumber, "When it ended, in seconds since 1970: what it found may be as old."},
	},
}
