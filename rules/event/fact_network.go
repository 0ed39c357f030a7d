package event

// networkFacts are the kinds of facts of services and the network: what listens, what is let in, what is recorded. Each is a variable
// too, by which surveys make facts.
var networkFacts = []*FactKind{
	Service, LegacyClient, Unit, Listener, Opening, Interface, Clock, KernelClock, NTP, MTA, Firewall, Filter,
	Logger, Journald, JournalUpload, Rsyslog, Logrotate, LogFile, Auditd, KernelAudit, AuditRule, AuditFile, FIM,
}

// Service is a well-known service that few machines need, or that all do.
var Service = &FactKind{
	Name: "service", Doc: "A well-known service: one that few machines need, or one that a check asks for.", Of: "what it is, wherever this distribution has it: avahi, cups, nfs …",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed: a package, a program or a unit of it."},
		{"packages", FactTexts, "Its packages that are installed; absent where there is no database of dpkg or apk."},
		{"units", FactTexts, "Its units that there are, or what else would start it."},
		{"enabled", FactTruth, "Whether something starts it: at boot, or when it is asked for."},
		{"masked", FactTruth, "Whether all of its units are masked."},
		{"running", FactTruth, "Whether a process of it runs, those in containers not counted; absent if the machine does not run."},
		{"in_use", FactTruth, "Whether it is enabled or runs."},
	},
	Running: []string{"running"},
}

// LegacyClient is a program of a protocol that should have gone.
var LegacyClient = &FactKind{
	Name: "client", Doc: "A client of an old protocol, or one that few machines need.", Of: "what it is: telnet, rsh, nis …",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed: a package or a program of it."},
		{"packages", FactTexts, "Its packages that are installed; absent where there is no database of dpkg or apk."},
		{"programs", FactTexts, "Its programs that there are."},
	},
}

// Unit is a unit of systemd.
var Unit = &FactKind{
	Name: "unit", Doc: "A unit of systemd: a service, socket, timer, path or target that a file or a link makes.", Of: "its name",
	Fields: []FactField{
		{"path", FactText, "The file that counts."},
		{"type", FactText, "service, socket, timer, path or target."},
		{"state", FactText, "enabled, disabled, masked, static (it cannot be enabled) or alias (another one's name)."},
		{"enabled", FactTruth, "Whether another unit wants it: by a link that somebody made, or that its package brought."},
		{"masked", FactTruth, "Whether nothing can start it."},
		{"drop_ins", FactTexts, "Files that add to it."},
		{"program", FactText, "The program that it starts first; absent if it starts none."},
		{"user", FactText, "Whose that runs as; root unless the unit says otherwise."},
		{"foreign", FactTexts, "Those of its files and its program that somebody else than root can change; a program that runs as a user may be that user's."},
		{"guarded", FactTruth, "Whether there are none of these."},
	},
}

// Listener is a socket that waits for others.
var Listener = &FactKind{
	Name: "listener", Doc: "A TCP or UDP socket of the machine's own network name space that waits for others.", Of: "protocol and address: tcp 0.0.0.0:22",
	Fields: []FactField{
		{"protocol", FactText, "tcp or udp."},
		{"family", FactText, "ipv4 or ipv6."},
		{"address", FactText, "The address that it listens at."},
		{"port", FactNumber, "The port."},
		{"loopback", FactTruth, "Whether only this machine itself can reach it."},
		{"wildcard", FactTruth, "Whether it listens at all of the machine's addresses."},
		{"process", FactText, "The name of the process that has it; absent if none was found."},
		{"program", FactText, "The path of its program."},
		{"deleted", FactTruth, "Whether that program is no longer there; one that was replaced by an update counts too."},
		{"pid", FactNumber, "The process."},
		{"uid", FactNumber, "Whose the socket is."},
		{"user", FactText, "That user's name; absent if /etc/passwd has none."},
	},
}

// Opening is a port that others can reach if nothing filters.
var Opening = &FactKind{
	Name: "opening", Doc: "A socket of kind listener that not only this machine itself can reach, and what the packet filter has for it.", Of: "protocol and address: tcp 0.0.0.0:22",
	Fields: []FactField{
		{"protocol", FactText, "tcp or udp."},
		{"family", FactText, "ipv4 or ipv6."},
		{"port", FactNumber, "The port."},
		{"process", FactText, "The name of the process that has it; absent if none was found."},
		{"ruled", FactTruth, "Whether a rule accepts its port by number."},
	},
}

// Interface is a network interface.
var Interface = &FactKind{
	Name: "interface", Doc: "A network interface of the running machine.", Of: "its name",
	Fields: []FactField{
		{"up", FactTruth, "Whether it is switched on."},
		{"loopback", FactTruth, "Whether it is the machine's way to itself."},
		{"wireless", FactTruth, "Whether it is a radio."},
		{"promiscuous", FactTruth, "Whether it takes in what is for others. Ports of a bridge must, and do not count."},
		{"ipv6", FactTruth, "Whether IPv6 works on it."},
	},
	Running: []string{"up", "loopback", "wireless", "promiscuous", "ipv6"},
}

// Clock is what keeps the machine's time.
var Clock = &FactKind{
	Name: "clock", Doc: "What keeps the machine's time: one fact for the machine.", Of: "the machine",
	Fields: []FactField{
		{"daemons", FactTexts, "What is in use to keep it."},
		{"count", FactNumber, "How many that are."},
	},
}

// KernelClock is the clock of the running kernel.
var KernelClock = &FactKind{
	Name: "kclock", Doc: "The clock of the running kernel: one fact for the machine, none if no kernel runs.", Of: "the machine",
	Fields: []FactField{
		{"synchronized", FactTruth, "Whether the kernel takes it for synchronized: a daemon tells it so, and has not been silent for long."},
		{"max_error", FactNumber, "Microseconds by which it may be wrong at most, as far as that daemon knows."},
	},
}

// NTP is a daemon that keeps time.
var NTP = &FactKind{
	Name: "ntp", Doc: "A daemon that keeps time by others' clocks. Reported for those that are installed.", Of: "chrony, timesyncd, ntpd, openntpd or busybox",
	Fields: []FactField{
		{"enabled", FactTruth, "Whether it is started at boot."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"in_use", FactTruth, "Whether it is enabled or runs."},
		{"works", FactTruth, "Whether it is enabled, and runs if the machine does."},
		{"servers", FactTexts, "The servers, pools, peers and reference clocks that its configuration names."},
		{"count", FactNumber, "How many that are."},
		{"authenticated", FactTruth, "Whether all of them are asked with NTS or a key, or are clocks of this machine."},
		{"user", FactText, "Whose it runs as: of the process, else of the configuration."},
		{"restricted", FactTruth, "Of ntpd: whether strangers can neither change it nor ask it for more than the time, by IPv4 nor by IPv6."},
	},
	Running: []string{"running"},
}

// MTA is a mail server.
var MTA = &FactKind{
	Name: "mta", Doc: "A mail transfer agent that is installed.", Of: "postfix, exim, sendmail, opensmtpd …",
	Fields: []FactField{
		{"enabled", FactTruth, "Whether something starts it."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"listens", FactTexts, "Where its configuration says that it listens."},
		{"local", FactTruth, "Whether that is only this machine itself; absent if the configuration was not understood."},
	},
	Running: []string{"running"},
}

// Firewall is a manager of packet filters.
var Firewall = &FactKind{
	Name: "firewall", Doc: "A program that manages the packet filter.", Of: "ufw, firewalld, nftables or iptables",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed."},
		{"enabled", FactTruth, "Whether it is set up to load rules at boot."},
		{"active", FactTruth, "Whether rules of it are loaded; absent if the machine does not run, or if that cannot be told."},
		{"in_use", FactTruth, "Whether it is enabled, or has rules loaded."},
		{"others", FactTexts, "The others that are in use, too."},
		{"alone", FactTruth, "Whether it is in use and no other is."},
		{"chosen", FactTruth, "Whether it is what should filter here: it is in use, or it is installed and none is in use."},
		{"persistent", FactTruth, "Whether there are rules in its files, which are loaded at boot."},
		{"doubled", FactTruth, "Whether a package is installed that loads other rules besides it: iptables-persistent and its like."},
		{"input", FactText, "accept, drop or reject: what becomes of packets to this machine that no rule of its files is about; absent if they do not say."},
		{"output", FactText, "The same of packets from this machine."},
		{"forward", FactText, "The same of packets through it."},
		{"zone", FactText, "Of firewalld: the zone of interfaces that are in no other."},
		{"ipv6", FactTruth, "Of ufw: whether it filters IPv6."},
		{"logging", FactTruth, "Whether refused packets are logged; absent if its files do not say."},
	},
	Running: []string{"active"},
}

// Filter is what the packet filter does.
var Filter = &FactKind{
	Name: "filter", Doc: "What the packet filter does with packets to, from or through the machine: the loaded rules, whoever loaded them. " +
		"Where no kernel runs, those that the files of the enabled manager will load.", Of: "hook and protocol: input ipv4, output ipv6 …",
	Fields: []FactField{
		{"hook", FactText, "input, output or forward."},
		{"family", FactText, "ipv4 or ipv6."},
		{"needed", FactTruth, "Whether the machine has that protocol: IPv6 can be off."},
		{"chains", FactNumber, "Chains at this place: none if nothing is filtered."},
		{"rules", FactNumber, "Rules in them, and in those that they lead to."},
		{"default", FactText, "accept, drop or reject: what becomes of a packet that no condition is about."},
		{"denies", FactTruth, "Whether that is drop or reject."},
		{"accepts_loopback", FactTruth, "Whether what goes over the loopback interface is let through."},
		{"guards_loopback", FactTruth, "Whether packets from other interfaces are refused that claim to come from 127.0.0.0/8 or ::1."},
		{"established", FactTruth, "Whether packets of connections that are known are let through."},
		{"ports", FactTexts, "Ports that are accepted by number, as tcp/22 or udp/60000-61000; the first 200."},
	},
}

// Logger is where the machine's log goes.
var Logger = &FactKind{
	Name: "logger", Doc: "Where the machine's log goes: one fact for the machine.", Of: "the machine",
	Fields: []FactField{
		{"systems", FactTexts, "What keeps it and is in use: journald, rsyslog, syslog-ng, busybox …"},
		{"daemons", FactNumber, "How many of these are daemons of syslog, besides journald."},
		{"primary", FactText, "What keeps it in the end: the syslog daemon, or without one journald; absent if nothing does."},
		{"persistent", FactTruth, "Whether it is still there after a reboot."},
		{"shippers", FactTexts, "What sends it to another machine: rsyslog, journal-upload, vector, fluent-bit …"},
		{"remote", FactTruth, "Whether anything does."},
	},
}

// Journald is the journal of systemd.
var Journald = &FactKind{
	Name: "journald", Doc: "The journal of systemd, by journald.conf and its drop-ins. Reported if it is installed.", Of: "the machine",
	Fields: []FactField{
		{"enabled", FactTruth, "Whether it is started at boot."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"works", FactTruth, "Whether it is enabled, and runs if the machine does."},
		{"storage", FactText, "persistent, auto, volatile or none."},
		{"persistent", FactTruth, "Whether it is kept on disk: by storage, and by the directory if that is auto."},
		{"compress", FactTruth, "Whether large entries are compressed."},
		{"forward_to_syslog", FactTruth, "Whether it is passed on to a syslog daemon."},
		{"syslog", FactTruth, "Whether there is one in use."},
		{"seal", FactTruth, "Whether what was written is sealed against change, if a key was made."},
		{"rotation", FactTexts, "The settings of size and age that were made."},
		{"limited", FactTruth, "Whether somebody has set how large, or how old, it may become."},
	},
	Running: []string{"running"},
}

// JournalUpload is what sends the journal to another machine.
var JournalUpload = &FactKind{
	Name: "upload", Doc: "systemd-journal-upload, which sends the journal to another machine. Reported if the machine has the journal.", Of: "the machine",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed."},
		{"enabled", FactTruth, "Whether it is started at boot."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"works", FactTruth, "Whether it is enabled, and runs if the machine does."},
		{"url", FactText, "Where to."},
		{"encrypted", FactTruth, "Whether it is sent over TLS."},
		{"authenticated", FactTruth, "Whether each proves to the other who it is: a key, a certificate and an authority are set."},
		{"needed", FactTruth, "Whether no syslog daemon keeps the log instead."},
	},
	Running: []string{"running"},
}

// Rsyslog is the syslog daemon of most distributions.
var Rsyslog = &FactKind{
	Name: "rsyslog", Doc: "The syslog daemon rsyslog, by its configuration with all that it includes. Reported if it is installed.", Of: "the machine",
	Fields: []FactField{
		{"enabled", FactTruth, "Whether it is started at boot."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"works", FactTruth, "Whether it is enabled, and runs if the machine does."},
		{"fed", FactTruth, "Whether it gets what is in the journal: it reads that, or the journal passes it on."},
		{"mode_octal", FactText, "The most open permissions that its configuration gives to new files: 0640."},
		{"private", FactTruth, "Whether these are 0640 or less."},
		{"selectors", FactNumber, "Lines that say what is written where."},
		{"auth", FactTruth, "Whether one of them is about logins: facility auth or authpriv, or all."},
		{"forwards", FactTexts, "Other machines that it sends to, as tcp loghost:514."},
		{"forwards_tls", FactTruth, "Whether it sends to others over TLS only; absent if to none."},
		{"receives", FactTexts, "What it takes in from other machines: imtcp 514."},
		{"receiving", FactTruth, "Whether it takes in anything from others."},
	},
	Running: []string{"running"},
}

// Logrotate is what keeps log files small.
var Logrotate = &FactKind{
	Name: "logrotate", Doc: "What keeps log files from growing without end: one fact for the machine.", Of: "the machine",
	Fields: []FactField{
		{"exists", FactTruth, "Whether logrotate is installed."},
		{"scheduled", FactTruth, "Whether a timer or cron runs it."},
		{"files", FactNumber, "Patterns of files that it is about."},
		{"rotate", FactNumber, "How many old ones it keeps unless a file says otherwise; 0 if the configuration does not say."},
		{"frequency", FactText, "hourly, daily, weekly, monthly or yearly, unless a file says otherwise; absent if the configuration does not say."},
		{"compress", FactTruth, "Whether it compresses them, unless a file says otherwise."},
	},
}

// LogFile is a file below /var/log.
var LogFile = &FactKind{
	Name: "logfile", Doc: "A file below /var/log.", Of: "the path",
	Fields: []FactField{
		{"mode_octal", FactText, "Its permissions: 0640."},
		{"owner", FactText, "The owner's name; absent if /etc/passwd has none."},
		{"group", FactText, "The group's name; absent if /etc/group has none."},
		{"most", FactText, "The most open permissions that such a file may have."},
		{"proper", FactTruth, "Whether permissions, owner and group are what such a file should have."},
		{"wrong", FactTexts, "What is not: mode, owner, group."},
	},
}

// Auditd is the audit of the kernel and its daemon.
var Auditd = &FactKind{
	Name: "auditd", Doc: "The audit of the kernel, and the daemon that keeps its record: one fact for the machine.", Of: "the machine",
	Fields: []FactField{
		{"exists", FactTruth, "Whether the daemon is installed."},
		{"enabled", FactTruth, "Whether it is started at boot."},
		{"running", FactTruth, "Whether it runs; absent if the machine does not."},
		{"works", FactTruth, "Whether it is enabled, and runs if the machine does."},
		{"log_file", FactText, "Where it writes."},
		{"log_group", FactText, "Whose group may read that."},
		{"max_log_file", FactNumber, "Megabytes of one file; absent if it is not set."},
		{"max_log_file_action", FactText, "What it does then: keep_logs, rotate, ignore, syslog or suspend."},
		{"num_logs", FactNumber, "How many files it keeps, if it rotates."},
		{"space_left_action", FactText, "What it does when space becomes short."},
		{"admin_space_left_action", FactText, "What it does when there is little left."},
		{"disk_full_action", FactText, "What it does when there is none."},
		{"disk_error_action", FactText, "What it does when it cannot write."},
		{"warns", FactTruth, "Whether somebody is told in time, and the machine stops before it is too late: space_left_action is email, exec, single or halt, and admin_space_left_action single or halt."},
		{"stops", FactTruth, "Whether the machine stops rather than goes on without a record: disk_full_action is halt or single, and disk_error_action syslog, halt or single."},
		{"suppressed", FactTexts, "Rules that switch the audit off for all: -a never,task and the like, where they stand."},
		{"silenced", FactTruth, "Whether there are any of these."},
	},
	Running: []string{"running"},
}

// KernelAudit is the audit of the running kernel.
var KernelAudit = &FactKind{
	Name: "kaudit", Doc: "The audit of the running kernel: one fact for the machine, none if no kernel runs.", Of: "the machine",
	Fields: []FactField{
		{"wanted", FactTruth, "Whether the audit daemon is installed."},
		{"state", FactText, "off, on or locked: until the next boot nobody can change it."},
		{"backlog_limit", FactNumber, "Records that may wait."},
		{"lost", FactNumber, "Records that were lost since it was booted."},
		{"rules", FactNumber, "Rules in the files."},
		{"loaded", FactNumber, "Rules in the kernel."},
		{"same", FactTruth, "Whether these are the same, as far as lists, actions, architectures, paths and keys go."},
	},
}

// AuditRule is something that the audit should record.
var AuditRule = &FactKind{
	Name: "audit", Doc: "Something that the audit should record.", Of: "what: time, identity, mounts, deletions …",
	Fields: []FactField{
		{"on_disk", FactTruth, "Whether the files have rules for all of it."},
		{"missing", FactTexts, "What they have none for; the first 50."},
		{"loaded", FactTruth, "Whether the running kernel has rules for all of it; absent if none runs."},
		{"unloaded", FactTexts, "What it has none for; the first 50."},
		{"effective", FactTruth, "Whether the files have them, and the kernel too if one runs here."},
	},
	Running: []string{"loaded", "unloaded"},
}

// AuditFile is a file of audit rules.
var AuditFile = &FactKind{
	Name: "auditfile", Doc: "A file of audit rules.", Of: "the path",
	Fields: []FactField{
		{"rules", FactNumber, "Rules that it has."},
		{"valid", FactTruth, "Whether every line of it was understood."},
		{"wrong", FactTexts, "Those that were not; the first 20."},
	},
}

// FIM is what notices that files change.
var FIM = &FactKind{
	Name: "fim", Doc: "What notices that files change. Reported for what is installed, and as none if nothing is.", Of: "aide, yagura, tripwire, samhain, osquery, wazuh …, or none",
	Fields: []FactField{
		{"exists", FactTruth, "Whether it is installed."},
		{"scheduled", FactTruth, "Whether it looks regularly: a timer, cron, or a service that is enabled or runs."},
		{"database", FactTruth, "Of aide: whether there is something to compare with; absent for those that keep it elsewhere."},
		{"tools", FactTruth, "Of aide: whether it compares the audit tools by a strong hash; absent for others."},
		{"tools_missing", FactTexts, "Audit tools that it does not."},
	},
}
