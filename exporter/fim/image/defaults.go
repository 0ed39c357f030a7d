package image

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter/host"
)

// Ids of checks that are not about files which an Expectation could name.
const (
	unsafeEntry       = "unsafe-entry"
	ambiguousWhiteout = "ambiguous-whiteout"
	configSecret      = "config-secret"
	manySecrets       = "secret/more"
	secretFamily      = "secret"
	passwordHash      = "password-hash"
	emptyPassword     = "empty-password"
)

// A standard is a check that comes with this package.
type standard struct {
	Expectation
	judge    func(*node) string // what is wrong with a file, if it is not wrong to be there; "" for nothing
	want     string             // what judge wants
	together bool
}

func (s *standard) prepare() (*check, error) {
	e := s.Expectation
	e.Absent = true
	c, err := newCheck(e)
	if err != nil {
		return nil, err
	}
	c.Absent, c.judge, c.want, c.together = s.judge == nil, s.judge, s.want, s.together
	return c, nil
}

// defaults are the checks that need no checks file. Paths of leaks are looked for in every layer: deleting a key in the next
// one does not take it out of the image.
var defaults = []standard{
	{Expectation: Expectation{ID: "ssh-host-key", Severity: High, Description: "The private key of an SSH server: all containers of the image have it.",
		Paths: []string{"/etc/ssh/ssh_host_*_key", "/etc/dropbear/dropbear_*_host_key"}, Types: []string{"file"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "ssh-user-key", Severity: High, Description: "The private key of an SSH user.",
		Paths: []string{"**/.ssh/id_{rsa,dsa,ecdsa,ecdsa_sk,ed25519,ed25519_sk}", "**/.ssh/identity", "**/.ssh/*.{pem,key}"}, Types: []string{"file"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "cloud-credentials", Severity: High, Description: "Credentials for a cloud, a cluster, a registry, a repository or a database.",
		Paths: []string{"**/.aws/credentials", "**/.azure/{accessTokens.json,msal_token_cache.*,service_principal_entries.*}",
			"**/.config/gcloud/{credentials.db,access_tokens.db,application_default_credentials.json}", "**/.config/gcloud/legacy_credentials/**",
			"**/.config/{doctl,hcloud}/{config.yaml,cli.toml}", "**/.oci/*.pem", "**/.aliyun/config.json", "**/.bluemix/config.json", "**/.boto", "**/.s3cfg",
			"**/.kube/config", "/etc/kubernetes/{admin,super-admin,controller-manager,scheduler,kubelet}.conf", "/{run,var/run}/secrets/kubernetes.io/**",
			"**/.docker/config.json", "**/.dockercfg", "**/.config/containers/auth.json", "/kaniko/.docker/config.json",
			"**/.git-credentials", "**/.config/git/credentials", "**/.config/gh/hosts.yml", "**/.netrc", "**/.pypirc", "**/.gem/credentials", "**/.cargo/credentials{,.toml}",
			"**/.m2/settings-security.xml", "**/.terraform.d/credentials.tfrc.json", "**/*.tfstate{,.backup}", "**/.vault-token", "**/.pgpass", "**/.my.cnf", "**/.mylogin.cnf"},
		Types: []string{"file"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "key-store", Severity: Medium, Description: "A store of keys or passwords.",
		Paths: []string{"**/*.{jks,keystore,kdbx,kdb,ppk}", "**/*.keychain-db"}, Types: []string{"file"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "env-file", Severity: Medium, Description: "A file of environment variables, most often with passwords.",
		Paths: []string{"**/.env", "**/.env.*", "**/.envrc"}, Except: []string{"**/.env.{example,sample,template,dist,defaults,schema}", "**/node_modules/**"}, Types: []string{"file"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "repository", Severity: Medium, Description: "A working copy's history: all that was ever committed, and credentials of remotes.",
		Paths: []string{"**/.git", "**/.hg", "**/.svn", "**/.bzr"}, Types: []string{"directory"}, EveryLayer: true}},
	{Expectation: Expectation{ID: "history-file", Severity: Medium, Description: "What somebody has typed.",
		Paths: []string{"**/.*_history", "**/.{bash,zsh,sh,ash,fish}_sessions/**", "**/.{lesshst,viminfo,wget-hsts}", "**/.local/share/fish/fish_history"}, Types: []string{"file"}, EveryLayer: true},
		judge: func(n *node) string { return ifelse(n.size > 0, describe(n), "") }, want: "nothing there, or an empty file"},
	{Expectation: Expectation{ID: "package-cache", Severity: Low, Description: "What package managers have downloaded, of no use in a container.",
		Paths: []string{"/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin", "/var/lib/apt/lists/*_{Packages,Sources,InRelease,Release}*", "/var/cache/{yum,dnf,libdnf5,zypp}/**",
			"/var/cache/apk/*", "/etc/apk/cache/*", "/var/cache/pacman/pkg/*", "**/.cache/{pip,uv,go-build,yarn,composer,pypoetry}/**", "**/.npm/_cacache/**", "/usr/local/share/.cache/**"},
		Types: []string{"file"}}, together: true},
	{Expectation: Expectation{ID: "setuid", Severity: High, Description: "A program that gives whoever runs it the rights of another user or group, and is not one that distributions ship so.",
		Names: []string{""}, Except: usualSetuid, Types: []string{"file"}},
		judge: func(n *node) string {
			return ifelse(n.mode&setuid != 0 && n.mode&0o111 != 0 || n.mode&(setgid|0o010) == setgid|0o010, "mode "+octal(n.mode), "")
		}, want: "neither setuid nor setgid"},
	{Expectation: Expectation{ID: "file-capability", Severity: Medium, Description: "A program that gives whoever runs it capabilities of root, and is not one that distributions ship so.",
		Names: []string{""}, Except: []string{"/{,usr/}{bin,sbin}/{ping,ping6,arping,clockdiff,mtr-packet,newuidmap,newgidmap,dumpcap}", "/usr/lib/**/gst-ptp-helper"}, Types: []string{"file"}},
		judge: capabilities, want: "no capabilities"},
	{Expectation: Expectation{ID: "world-writable-file", Severity: Medium, Description: "A file that anybody may write.", Names: []string{""}, Types: []string{"file"}},
		judge: func(n *node) string { return ifelse(n.mode&0o002 != 0, "mode "+octal(n.mode), "") }, want: "a file that others cannot write"},
	{Expectation: Expectation{ID: "world-writable-directory", Severity: Medium, Description: "A directory in which anybody may replace others' files.", Names: []string{""}, Types: []string{"directory"}},
		judge: func(n *node) string { return ifelse(n.mode&(0o002|sticky) == 0o002, "mode "+octal(n.mode), "") }, want: "a directory that others cannot write, or a sticky one"},
	{Expectation: Expectation{ID: "executable-in-temporary", Severity: High, Description: "Something to run where only data belongs that does not last.",
		Paths: []string{"/tmp/**", "/var/tmp/**", "/dev/**", "/run/**", "/var/{run,lock,spool,mail}/**"}, Types: []string{"file"}}, judge: runnable, want: "nothing to run there"},
	{Expectation: Expectation{ID: "executable-in-writable-directory", Severity: High, Description: "Something to run that anybody may replace.",
		Names: []string{""}, Except: []string{"/tmp/**", "/var/tmp/**", "/dev/**", "/run/**"}, Types: []string{"file"}},
		judge: func(n *node) string { return ifelse(n.parent.mode&(0o002|sticky) == 0o002, runnable(n), "") }, want: "nothing to run in a directory that anybody may write"},
	{Expectation: Expectation{ID: "executable-in-web-root", Severity: Medium, Description: "A native program where a web server's files are.",
		Paths: []string{"/var/www/**", "/srv/{www,http}/**", "/usr/share/nginx/html/**", "/usr/local/apache2/{htdocs,cgi-bin}/**", "/usr/local/tomcat/webapps/**"}, Types: []string{"file"}},
		judge: func(n *node) string { return ifelse(n.form == program, runnable(n), "") }, want: "no programs there"},
	{Expectation: Expectation{ID: "executable-in-home", Severity: Low, Description: "A native program in somebody's home.",
		Paths: []string{"/home/**", "/root/**"}, Types: []string{"file"}}, judge: func(n *node) string { return ifelse(n.form == program, runnable(n), "") }, want: "no programs there"},
	{Expectation: Expectation{ID: "file-in-dev", Severity: Medium, Description: "A file where a container's devices will be.",
		Paths: []string{"/dev/**"}, Types: []string{"file"}},
		judge: func(n *node) string { return ifelse(runnable(n) == "" && n.size > 0, describe(n), "") }, want: "no files there"},
	{Expectation: Expectation{ID: "device-node", Severity: Medium, Description: "A device, which a container's runtime makes where one is wanted.",
		Names: []string{""}, Except: []string{"/dev/{null,zero,full,random,urandom,tty,tty[0-9],console,ptmx,core,ram[0-9]*,mem,kmem,port}"}, Types: []string{"device"}}},
}

// findings are the checks of this package that are about more than single files.
var findings = []Expectation{
	{ID: unsafeEntry, Severity: High, Description: "A name that unpacks to another place than it says, or to none: with .. in it, through a file, or a hard link to nothing."},
	{ID: ambiguousWhiteout, Severity: Medium, Description: "A layer that hides a name and has it too: runtimes differ in what is there then. It is taken by the specification."},
	{ID: passwordHash, Severity: High, Description: "The hash of a password in /etc/shadow, which all containers of the image have."},
	{ID: emptyPassword, Severity: High, Description: "An account in /etc/shadow or /etc/passwd that needs no password."},
	{ID: configSecret, Severity: High, Description: "A variable, label or build argument that is called like a secret, in the image's configuration."},
	{ID: secretFamily, Severity: High, Description: "Content that a rule of gitleaks takes for a secret; the id of the rule stands behind a slash."},
}

// usualSetuid are the programs that Debian, Ubuntu, Fedora and its kin, Amazon Linux and Alpine install setuid or setgid.
var usualSetuid = []string{
	"/{,usr/}bin/{su,sudo,sudoedit,mount,umount,passwd,gpasswd,newgrp,chsh,chfn,chage,expiry,crontab,at,wall,write,write.ul,bsd-write,ssh-agent,pkexec,fusermount,fusermount3,ntfs-3g,dotlockfile,mail-lock,mail-unlock,mail-touchlock,locate,plocate,mlocate,screen,staprun,newuidmap,newgidmap,doas,bbsuid,ping,ping6,sg,vlock,ksu,lockfile,procmail}",
	"/{,usr/}sbin/{unix_chkpwd,pam_extrausers_chkpwd,pam_timestamp_check,pppd,exim4,mount.nfs,mount.cifs,mount.ecryptfs_private,postdrop,postqueue,sendmail.sendmail,userhelper,usernetctl,netreport,grub2-set-bootflag,lockdev,suexec,traceroute6.iputils}",
	"/usr/{lib,libexec}/{openssh/ssh-keysign,dbus-1.0/dbus-daemon-launch-helper,dbus-1/dbus-daemon-launch-helper,polkit-1/polkit-agent-helper-1,policykit-1/polkit-agent-helper-1,eject/dmcrypt-get-device,snapd/snap-confine,utempter/utempter,ssh-keysign,xorg/Xorg.wrap,spice-client-glib-usb-acl-helper,sssd/ldap_child,sssd/krb5_child,sssd/proxy_child,sssd/selinux_child}",
	"/usr/lib/*/utempter/utempter", "/lib/dbus-1/dbus-daemon-launch-helper", "/usr/lib/ssh/ssh-keysign",
}

// mediumRules are gitleaks' rules whose matches are often no secrets, or none that are worth much.
var mediumRules = []string{"generic-api-key", "curl-auth-header", "curl-auth-user", "jwt", "jwt-base64", "kubernetes-secret-yaml",
	"adobe-client-id", "flutterwave-public-key", "etsy-access-token", "sourcegraph-access-token", "square-access-token", "twilio-api-key", "facebook-access-token", "pkcs12-file", "gcp-api-key"}

// severityOf returns how bad a finding is of a check that is none of defaults.
func severityOf(id string) Severity {
	rule, ok := strings.CutPrefix(id, secretFamily+"/")
	if id == ambiguousWhiteout || ok && slices.Contains(mediumRules, rule) {
		return Medium
	}
	return High
}

// runnable says what makes a file one to run: a bit of its mode, or that it is a program whatever its mode says.
func runnable(n *node) string {
	switch {
	case n.form == program:
		return fmt.Sprintf("a program (ELF), mode %s", octal(n.mode))
	case n.mode&0o111 != 0 && n.form == script:
		return fmt.Sprintf("a script, mode %s", octal(n.mode))
	case n.mode&0o111 != 0 && n.size > 0:
		return fmt.Sprintf("an executable file, mode %s", octal(n.mode))
	}
	return ""
}

// capabilities reads security.capability: a struct vfs_cap_data of linux/capability.h, in little endian.
func capabilities(n *node) string {
	if n.capabilities == "" {
		return ""
	}
	value := []byte(n.capabilities)
	if len(value) < 12 {
		return fmt.Sprintf("security.capability of %d bytes", len(value))
	}
	bits := uint64(binary.LittleEndian.Uint32(value[4:])) // permitted
	if len(value) >= 20 {
		bits |= uint64(binary.LittleEndian.Uint32(value[12:])) << 32
	}
	var held []string
	for i := range 64 {
		switch {
		case bits&(1<<i) == 0:
		case i <= unix.CAP_LAST_CAP:
			held = append(held, strings.ToLower(host.Capability(i).String()))
		default:
			held = append(held, fmt.Sprintf("capability %d", i))
		}
	}
	return "capabilities: " + ifelse(len(held) > 0, strings.Join(held, ", "), "inheritable ones")
}

// isShadow says whether a file may hold hashes of passwords.
func isShadow(name string) bool {
	return slices.Contains([]string{"/etc/shadow", "/etc/shadow-", "/etc/passwd", "/etc/passwd-", "/etc/gshadow", "/etc/gshadow-"}, name)
}

// scanShadow looks at the second fields of a file, and reads all of it.
func scanShadow(r io.Reader) ([]secret, error) {
	var found []secret
	lines := bufio.NewReaderSize(r, 4096)
	for line := 1; ; line++ {
		text, long, err := lines.ReadLine()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if id := judgeShadow(text); id != "" && len(found) < maxFileSecrets {
			found = append(found, secret{rule: id, line: line, fingerprint: fingerprintOf(bytes.Split(text, []byte{':'})[1])})
		}
		for long && err == nil { // the rest of a line that is too long
			_, long, err = lines.ReadLine()
		}
	}
}

// judgeShadow knows that what is no hash, such as * or !, lets nobody in, and that ! before a hash only locks it.
func judgeShadow(line []byte) string {
	fields := bytes.Split(line, []byte{':'})
	if len(fields) < 3 || len(fields[0]) == 0 || fields[0][0] == '#' {
		return ""
	}
	hash := bytes.TrimLeft(fields[1], "!")
	switch {
	case len(fields[1]) == 0 && len(fields) >= 7: // groups have four fields, and need no password
		return emptyPassword
	case len(hash) > 12 && hash[0] == '$':
		return passwordHash
	case len(hash) == 13 && bytes.IndexFunc(hash, func(r rune) bool { return r > 0x7f || !isBase64(byte(r)) && r != '.' }) < 0:
		return passwordHash // of DES
	}
	return ""
}
