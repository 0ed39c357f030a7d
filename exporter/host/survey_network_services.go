package host

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A knownService is one row of the table of services: how each distribution calls it.
type knownService struct {
	name     string
	packages []string // of dpkg and apk
	units    []string // of systemd, also patterns of path.Match
	scripts  []string // of OpenRC and of System V
	inetd    []string // names in inetd.conf and below xinetd.d
	programs []string // names of its programs, by which it is found where there is no database of packages, and by which it is seen to run
}

// knownServices are in the order of their names. A package of a library or a client alone is not the service.
var knownServices = []knownService{
	{"autofs", []string{"autofs"}, []string{"autofs.service"}, []string{"autofs"}, nil, []string{"automount"}},
	{"avahi", []string{"avahi-daemon", "avahi"}, []string{"avahi-daemon.service", "avahi-daemon.socket"}, []string{"avahi-daemon"}, nil, []string{"avahi-daemon"}},
	{"bluetooth", []string{"bluez"}, []string{"bluetooth.service"}, []string{"bluetooth"}, nil, []string{"bluetoothd"}},
	{"chargen", nil, nil, nil, []string{"chargen", "chargen-dgram", "chargen-stream"}, nil},
	{"cups", []string{"cups", "cups-daemon"}, []string{"cups.service", "cups.socket", "cups.path", "cups-browsed.service"}, []string{"cups", "cupsd"}, nil, []string{"cupsd", "cups-browsed"}},
	{"debug-shell", nil, []string{"debug-shell.service"}, nil, nil, nil},
	{"dhcp", []string{"isc-dhcp-server", "isc-dhcp-server-ldap", "kea-dhcp4-server", "kea-dhcp6-server", "kea", "dhcp", "udhcpd"}, []string{"isc-dhcp-server.service", "isc-dhcp-server6.service", "dhcpd.service", "dhcpd6.service", "kea-dhcp4-server.service", "kea-dhcp6-server.service", "kea-dhcp4.service", "kea-dhcp6.service"}, []string{"isc-dhcp-server", "dhcpd", "kea-dhcp4", "kea-dhcp6", "udhcpd"}, nil, []string{"dhcpd", "kea-dhcp4", "kea-dhcp6", "udhcpd"}},
	{"discard", nil, nil, nil, []string{"discard", "discard-dgram", "discard-stream", "daytime", "daytime-dgram", "daytime-stream", "echo", "echo-dgram", "echo-stream", "time", "time-dgram", "time-stream"}, nil},
	{"dns", []string{"bind9", "bind", "unbound", "nsd", "knot", "pdns-server", "pdns-recursor", "pdns"}, []string{"named.service", "bind9.service", "unbound.service", "nsd.service", "knot.service", "pdns.service", "pdns-recursor.service"}, []string{"named", "unbound", "nsd", "knotd", "pdns"}, nil, []string{"named", "unbound", "nsd", "knotd", "pdns_server", "pdns_recursor"}},
	{"dnsmasq", []string{"dnsmasq"}, []string{"dnsmasq.service"}, []string{"dnsmasq"}, nil, []string{"dnsmasq"}},
	{"finger", []string{"fingerd", "efingerd", "xfingerd", "finger-server"}, []string{"finger.socket"}, nil, []string{"finger"}, []string{"in.fingerd"}},
	{"ftp", []string{"vsftpd", "proftpd-basic", "proftpd-core", "proftpd", "pure-ftpd", "ftpd", "inetutils-ftpd", "tnftpd"}, []string{"vsftpd.service", "vsftpd@*.service", "proftpd.service", "pure-ftpd.service"}, []string{"vsftpd", "proftpd", "pure-ftpd"}, []string{"ftp"}, []string{"vsftpd", "proftpd", "pure-ftpd", "in.ftpd"}},
	{"imap", []string{"dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot", "cyrus-imapd", "courier-imap", "courier-pop"}, []string{"dovecot.service", "dovecot.socket", "cyrus-imapd.service", "courier-imap.service", "courier-pop.service"}, []string{"dovecot", "cyrus-imapd"}, nil, []string{"dovecot", "cyrus-master", "couriertcpd"}},
	{"inetd", []string{"openbsd-inetd", "inetutils-inetd", "rlinetd"}, []string{"inetd.service", "openbsd-inetd.service", "inetutils-inetd.service"}, []string{"openbsd-inetd", "inetutils-inetd", "inetd"}, nil, []string{"inetd", "inetutils-inetd", "rlinetd"}},
	{"journal-remote", []string{"systemd-journal-remote"}, []string{"systemd-journal-remote.service", "systemd-journal-remote.socket", "systemd-journal-gatewayd.service", "systemd-journal-gatewayd.socket"}, nil, nil, []string{"systemd-journal-remote", "systemd-journal-gatewayd"}},
	{"ldap", []string{"slapd", "openldap", "openldap-servers", "389-ds-base"}, []string{"slapd.service", "dirsrv@*.service"}, []string{"slapd"}, nil, []string{"slapd", "ns-slapd"}},
	{"nfs", []string{"nfs-kernel-server", "nfs-ganesha"}, []string{"nfs-server.service", "nfs-kernel-server.service", "nfs-ganesha.service"}, []string{"nfs", "nfs-kernel-server"}, nil, []string{"nfsd", "rpc.nfsd", "ganesha.nfsd"}},
	{"nis", []string{"ypserv"}, []string{"ypserv.service", "yppasswdd.service", "ypxfrd.service"}, []string{"ypserv"}, nil, []string{"ypserv", "rpc.yppasswdd"}},
	{"rexec", nil, []string{"rexec.socket"}, nil, []string{"exec", "rexec"}, []string{"in.rexecd", "rexecd"}},
	{"rpcbind", []string{"rpcbind"}, []string{"rpcbind.service", "rpcbind.socket"}, []string{"rpcbind"}, nil, []string{"rpcbind"}},
	{"rsh", []string{"rsh-server", "rsh-redone-server", "inetutils-rshd"}, []string{"rsh.socket", "rlogin.socket"}, nil, []string{"shell", "login", "rsh", "rlogin"}, []string{"in.rshd", "in.rlogind", "rshd", "rlogind"}},
	{"rsync", []string{"rsync"}, []string{"rsync.service", "rsyncd.service", "rsyncd.socket"}, []string{"rsync", "rsyncd"}, []string{"rsync"}, nil}, // the program is the client, too
	{"samba", []string{"samba", "samba-server", "samba-ad-dc", "ksmbd-tools"}, []string{"smbd.service", "nmbd.service", "smb.service", "nmb.service", "samba-ad-dc.service", "ksmbd.service"}, []string{"samba", "smbd", "nmbd", "ksmbd"}, nil, []string{"smbd", "nmbd", "samba", "ksmbd.mountd"}},
	{"snmp", []string{"snmpd", "net-snmp"}, []string{"snmpd.service", "snmptrapd.service"}, []string{"snmpd", "snmptrapd"}, nil, []string{"snmpd", "snmptrapd"}},
	{"squid", []string{"squid", "squid-openssl", "tinyproxy", "privoxy", "polipo"}, []string{"squid.service", "tinyproxy.service", "privoxy.service"}, []string{"squid", "tinyproxy", "privoxy"}, nil, []string{"squid", "tinyproxy", "privoxy"}},
	{"talk", []string{"talkd", "inetutils-talkd", "talk-server"}, []string{"ntalk.socket", "talk.socket"}, nil, []string{"talk", "ntalk"}, []string{"in.talkd", "in.ntalkd", "talkd"}},
	{"telnet", []string{"telnetd", "telnetd-ssl", "inetutils-telnetd", "telnet-server"}, []string{"telnet.socket", "telnetd.service", "inetutils-telnetd.service"}, []string{"telnetd"}, []string{"telnet"}, []string{"in.telnetd", "telnetd"}},
	{"tftp", []string{"tftpd-hpa", "tftpd", "atftpd", "tftp-hpa", "tftp-server"}, []string{"tftpd-hpa.service", "tftp.service", "tftp.socket", "atftpd.service"}, []string{"tftpd-hpa", "in.tftpd", "atftpd"}, []string{"tftp"}, []string{"in.tftpd", "atftpd"}},
	{"vnc", []string{"tigervnc-standalone-server", "tightvncserver", "x11vnc", "vino"}, []string{"vncserver@*.service", "x11vnc.service"}, nil, nil, []string{"Xtigervnc", "Xvnc", "Xtightvnc", "x11vnc"}},
	{"web", []string{"apache2", "nginx", "nginx-core", "nginx-light", "nginx-full", "nginx-extras", "lighttpd", "caddy", "httpd"}, []string{"apache2.service", "apache2.socket", "httpd.service", "httpd.socket", "nginx.service", "lighttpd.service", "caddy.service"}, []string{"apache2", "nginx", "lighttpd", "caddy"}, nil, []string{"apache2", "httpd", "nginx", "lighttpd", "caddy"}},
	{"xinetd", []string{"xinetd"}, []string{"xinetd.service"}, []string{"xinetd"}, nil, []string{"xinetd"}},
	{"xorg", []string{"xserver-xorg", "xserver-xorg-core", "xorg-server", "xwayland"}, []string{"gdm.service", "gdm3.service", "lightdm.service", "sddm.service", "xdm.service"}, []string{"lightdm", "sddm", "gdm", "xdm"}, nil, []string{"Xorg", "Xwayland"}},
}

// knownClients are clients of old protocols, and those that few machines need. Only names that are nothing else: rsh may be ssh's.
var knownClients = []struct {
	name     string
	packages []string
	programs []string
}{
	{"ftp", []string{"ftp", "tnftp", "inetutils-ftp", "lftp"}, []string{"ftp", "tnftp", "inetutils-ftp"}},
	{"ldap", []string{"ldap-utils", "openldap-clients"}, []string{"ldapsearch", "ldapmodify"}},
	{"nis", []string{"nis", "yp-tools", "ypbind-mt", "ypbind"}, []string{"ypbind", "ypcat"}},
	{"rsh", []string{"rsh-client", "rsh-redone-client", "inetutils-rsh"}, []string{"netkit-rsh", "netkit-rlogin", "rsh-redone-rsh", "rsh-redone-rlogin", "inetutils-rsh", "inetutils-rlogin"}},
	{"talk", []string{"talk", "inetutils-talk", "ytalk"}, []string{"netkit-ntalk", "ntalk", "inetutils-talk", "ytalk"}},
	{"telnet", []string{"telnet", "inetutils-telnet", "telnet-ssl", "busybox-extras"}, []string{"telnet.netkit", "inetutils-telnet", "telnet-ssl"}},
	{"tftp", []string{"tftp", "tftp-hpa", "atftp"}, []string{"tftp", "atftp"}},
}

// installed is what is known of the machine's software for surveys of services.
type installed struct {
	packages *packageSet
	programs map[string]string // paths of programs by name
	units    *units
	scripts  map[string][]string // what of OpenRC and System V starts a script, by its name
	inetd    map[string][]string // what of inetd starts a service, by its name
	systemd  bool
	ran      []ranProgram
}

// A softwareReader reads the machine's software once for several surveys that run one after the other.
type softwareReader struct {
	s *Surveys

	mu   sync.Mutex
	last *installed
	at   time.Time
}

// softwareLasts is how long what was read of software is good for: shorter than from one run of the surveys to the next.
const softwareLasts = 2 * time.Second

func (r *softwareReader) read(ctx context.Context) (*installed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last != nil && time.Since(r.at) < softwareLasts {
		return r.last, nil
	}
	in, err := r.s.software(ctx)
	if err != nil {
		return nil, err
	}
	r.last, r.at = in, time.Now()
	return in, nil
}

// with makes a survey of one that needs to know the software.
func (r *softwareReader) with(survey func(context.Context, *installed, func(event.Fact)) error) event.Survey {
	return func(ctx context.Context, report func(event.Fact)) error {
		in, err := r.read(ctx)
		if err != nil {
			return err
		}
		return survey(ctx, in, report)
	}
}

// binDirs are where programs are.
var binDirs = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/usr/lib/systemd", "/lib/systemd", "/usr/lib/dovecot", "/usr/lib/cups/daemon"}

// software reads what surveys of services need.
func (s *Surveys) software(ctx context.Context) (*installed, error) {
	in := &installed{scripts: map[string][]string{}, inetd: map[string][]string{}}
	var err error
	if in.packages, err = s.packages(); err != nil {
		return nil, err
	}
	if in.programs, err = s.programsByName(); err != nil {
		return nil, err
	}
	if in.units, err = s.units(); err != nil {
		return nil, err
	}
	if err = s.startScripts(in); err != nil {
		return nil, err
	}
	if err = s.inetdServices(in); err != nil {
		return nil, err
	}
	in.ran, err = s.running(ctx)
	return in, err
}

// programs are the paths of programs by their names. Where two have one name, that of the first directory counts.
func (s *Surveys) programsByName() (map[string]string, error) {
	all := map[string]string{}
	for _, dir := range binDirs {
		if s.isLink(dir) || strings.HasPrefix(dir, "/lib/") && s.isLink("/lib") {
			continue // another one by another name
		}
		names, err := s.readDir(dir)
		if err != nil && !Absent(err) {
			return nil, err
		}
		for _, n := range names {
			if _, twice := all[n.Name]; !twice && n.Type != "directory" {
				all[n.Name] = path.Join(dir, n.Name)
			}
		}
	}
	return all, nil
}

// startScripts reads which scripts OpenRC and System V start. Under systemd those of System V count that no unit replaces.
func (s *Surveys) startScripts(in *installed) error {
	_, in.systemd = in.programs["systemctl"]
	if !in.systemd {
		files, err := s.glob("/etc/runlevels/*/*")
		if err != nil {
			return err
		}
		for _, file := range files {
			in.scripts[path.Base(file)] = append(in.scripts[path.Base(file)], file)
		}
	}
	files, err := s.glob("/etc/rc[2-5S].d/S[0-9][0-9]*")
	if err != nil {
		return err
	}
	for _, file := range files {
		name := path.Base(file)[3:]
		if in.systemd && len(in.units.matching(name+".service")) > 0 {
			continue
		}
		in.scripts[name] = append(in.scripts[name], file)
	}
	return nil
}

// inetdServices reads which services inetd and xinetd start.
func (s *Surveys) inetdServices(in *installed) error {
	text, _, err := s.configText("/etc/inetd.conf")
	if err != nil {
		return err
	}
	joinedLines(text, "#", func(n int, line string) {
		if words := strings.Fields(line); len(words) >= 6 {
			in.inetd[words[0]] = append(in.inetd[words[0]], place("/etc/inetd.conf", n))
		}
	})
	files, err := s.glob("/etc/xinetd.d/*")
	if err != nil {
		return err
	}
	return s.eachText(files, func(file, text string) {
		for name, at := range xinetdServices(file, text) {
			in.inetd[name] = append(in.inetd[name], at)
		}
	})
}

// xinetdServices are the services of a file of xinetd that are not disabled, and where they stand.
func xinetdServices(file, text string) map[string]string {
	all, name := map[string]string{}, ""
	joinedLines(text, "#", func(n int, line string) {
		words := strings.Fields(line)
		switch {
		case words[0] == "service" && len(words) > 1:
			name = words[1]
			all[name] = place(file, n)
		case words[0] == "disable" && len(words) > 2 && on(words[2]):
			delete(all, name)
		}
	})
	return all
}

// has says which packages of several are installed.
func (in *installed) has(packages []string) []string {
	found := []string{}
	for _, name := range packages {
		if _, ok := in.packages.installed[name]; ok {
			found = append(found, name)
		}
	}
	return found
}

// paths are those of the programs that there are.
func (in *installed) paths(programs []string) []string {
	found := []string{}
	for _, name := range programs {
		if file, ok := in.programs[name]; ok {
			found = append(found, file)
		}
	}
	return found
}

// starters are what would start a service, and whether anything does.
func (in *installed) starters(k *knownService) (names []string, enabled, masked bool) {
	names = []string{}
	unmasked := 0
	for _, pattern := range k.units {
		for _, u := range in.units.matching(pattern) {
			if u.path == "" && len(u.wanted) == 0 {
				continue
			}
			names, enabled = append(names, u.name), enabled || u.enabled()
			if !u.masked {
				unmasked++
			}
		}
	}
	masked = len(names) > 0 && unmasked == 0
	for _, name := range k.scripts {
		names = append(names, in.scripts[name]...)
	}
	for _, name := range k.inetd {
		names = append(names, in.inetd[name]...)
	}
	others := slices.ContainsFunc(k.scripts, func(n string) bool { return len(in.scripts[n]) > 0 && !masked }) ||
		slices.ContainsFunc(k.inetd, func(n string) bool { return len(in.inetd[n]) > 0 })
	return names, enabled || others, masked && !others
}

// state is what is known of one well-known service.
type serviceState struct {
	exists, enabled, masked, running bool
	units, packages                  []string
}

func (v serviceState) inUse() bool { return v.enabled || v.running }

func (in *installed) state(k *knownService) serviceState {
	v := serviceState{packages: in.has(k.packages)}
	v.units, v.enabled, v.masked = in.starters(k)
	v.running = runs(in.ran, k.programs...)
	v.exists = len(v.packages) > 0 || in.packages.manager == "" && len(in.paths(k.programs)) > 0 || len(v.units) > 0 && !v.masked || v.running
	return v
}

// services reports the well-known services, and the clients of old protocols.
func (s *Surveys) services(_ context.Context, in *installed, report func(event.Fact)) error {
	for i := range knownServices {
		report(s.serviceFact(&knownServices[i], in))
	}
	for _, k := range knownClients {
		packages, programs := in.has(k.packages), in.paths(k.programs)
		f := event.LegacyClient.New(k.name, "").Set("programs", programs).Set("exists", len(packages)+len(programs) > 0)
		if in.packages.manager != "" {
			f.Set("packages", packages)
		}
		report(f)
	}
	return nil
}

func (s *Surveys) serviceFact(k *knownService, in *installed) event.Fact {
	v := in.state(k)
	f := event.Service.New(k.name, "").Set("exists", v.exists).Set("units", v.units).Set("enabled", v.enabled).Set("masked", v.masked).Set("in_use", v.inUse())
	if in.packages.manager != "" {
		f.Set("packages", v.packages)
	}
	if s.Live() {
		f.Set("running", v.running)
	}
	return f
}
