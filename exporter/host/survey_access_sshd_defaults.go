package host

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// An sshdDefault is the value that a keyword has without a line, from a version on: 704 is 7.4. They are those of the release notes and
// of sshd_config(5) of each version; that of the last row that is not newer than the server counts.
type sshdDefault struct {
	keyword string
	since   int64
	value   string // words divided by blanks
}

const (
	ecdhKex    = "ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
	ntruKex    = "sntrup761x25519-sha512@openssh.com,"
	curveKex   = "curve25519-sha256,curve25519-sha256@libssh.org,"
	primeKex   = "diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
	modernMACs = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com," +
		"umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
	oldSignatures = "ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com," +
		"ssh-ed25519-cert-v01@openssh.com,ssh-rsa-cert-v01@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-ed25519," +
		"rsa-sha2-512,rsa-sha2-256,ssh-rsa"
	tokenSignatures = "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com," +
		"ecdsa-sha2-nistp521-cert-v01@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com," +
		"rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,"
	plainSignatures = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com," +
		"sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
)

var sshdDefaults = []sshdDefault{
	{"addressfamily", 0, "any"},
	{"allowagentforwarding", 0, "yes"},
	{"allowstreamlocalforwarding", 0, "yes"},
	{"allowtcpforwarding", 0, "yes"},
	{"authenticationmethods", 0, "any"},
	{"authorizedkeyscommand", 0, "none"},
	{"authorizedkeyscommanduser", 0, "none"},
	{"authorizedkeysfile", 0, ".ssh/authorized_keys .ssh/authorized_keys2"},
	{"banner", 0, "none"},
	{"casignaturealgorithms", 709, "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-ed25519,rsa-sha2-512,rsa-sha2-256,ssh-rsa"},
	{"casignaturealgorithms", 802, plainSignatures},
	{"chrootdirectory", 0, "none"},
	{"ciphers", 0, "aes128-ctr,aes192-ctr,aes256-ctr,arcfour256,arcfour128,aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com," +
		"aes128-cbc,3des-cbc,blowfish-cbc,cast128-cbc,aes192-cbc,aes256-cbc,arcfour,rijndael-cbc@lysator.liu.se"},
	{"ciphers", 607, "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"},
	{"ciphers", 1000, "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"},
	{"clientalivecountmax", 0, "3"},
	{"clientaliveinterval", 0, "0"},
	{"compression", 0, "yes"},
	{"disableforwarding", 0, "no"},
	{"exposeauthinfo", 0, "no"},
	{"forcecommand", 0, "none"},
	{"gatewayports", 0, "no"},
	{"gssapiauthentication", 0, "no"},
	{"hostbasedacceptedalgorithms", 0, oldSignatures},
	{"hostbasedacceptedalgorithms", 802, tokenSignatures + "ssh-rsa-cert-v01@openssh.com," + plainSignatures + ",ssh-rsa"},
	{"hostbasedacceptedalgorithms", 808, tokenSignatures + plainSignatures},
	{"hostbasedauthentication", 0, "no"},
	{"hostkeyalgorithms", 0, oldSignatures},
	{"hostkeyalgorithms", 802, tokenSignatures + "ssh-rsa-cert-v01@openssh.com," + plainSignatures + ",ssh-rsa"},
	{"hostkeyalgorithms", 808, tokenSignatures + plainSignatures},
	{"hostkey", 0, "/etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_ed25519_key"},
	{"ignorerhosts", 0, "yes"},
	{"ignoreuserknownhosts", 0, "no"},
	{"kbdinteractiveauthentication", 0, "yes"},
	{"kerberosauthentication", 0, "no"},
	{"kexalgorithms", 0, "curve25519-sha256@libssh.org," + ecdhKex +
		"diffie-hellman-group-exchange-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,diffie-hellman-group1-sha1"},
	{"kexalgorithms", 607, "curve25519-sha256@libssh.org," + ecdhKex + "diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha1"},
	{"kexalgorithms", 703, "curve25519-sha256@libssh.org," + ecdhKex + primeKex + ",diffie-hellman-group14-sha1"},
	{"kexalgorithms", 704, curveKex + ecdhKex + primeKex + ",diffie-hellman-group14-sha1"},
	{"kexalgorithms", 802, curveKex + ecdhKex + primeKex},
	{"kexalgorithms", 809, curveKex + ecdhKex + ntruKex + primeKex},
	{"kexalgorithms", 900, ntruKex + curveKex + ecdhKex + primeKex},
	{"kexalgorithms", 909, "sntrup761x25519-sha512," + ntruKex + "mlkem768x25519-sha256," + curveKex + ecdhKex + primeKex},
	{"kexalgorithms", 1000, "mlkem768x25519-sha256,sntrup761x25519-sha512," + ntruKex + curveKex + strings.TrimSuffix(ecdhKex, ",")},
	{"logingracetime", 0, "120"},
	{"loglevel", 0, "INFO"},
	{"macs", 0, modernMACs + ",hmac-md5-etm@openssh.com,hmac-ripemd160-etm@openssh.com,hmac-sha1-96-etm@openssh.com,hmac-md5-96-etm@openssh.com," +
		"hmac-md5,hmac-ripemd160,hmac-ripemd160@openssh.com,hmac-sha1-96,hmac-md5-96"},
	{"macs", 607, modernMACs},
	{"maxauthtries", 0, "6"},
	{"maxsessions", 0, "10"},
	{"maxstartups", 0, "10 30 100"},
	{"passwordauthentication", 0, "yes"},
	{"permitemptypasswords", 0, "no"},
	{"permitrootlogin", 0, "yes"},
	{"permitrootlogin", 700, "prohibit-password"},
	{"permittty", 0, "yes"},
	{"permittunnel", 0, "no"},
	{"permituserenvironment", 0, "no"},
	{"permituserrc", 0, "yes"},
	{"port", 0, "22"},
	{"printlastlog", 0, "yes"},
	{"pubkeyacceptedalgorithms", 0, oldSignatures},
	{"pubkeyacceptedalgorithms", 802, tokenSignatures + "ssh-rsa-cert-v01@openssh.com," + plainSignatures + ",ssh-rsa"},
	{"pubkeyacceptedalgorithms", 808, tokenSignatures + plainSignatures},
	{"pubkeyauthentication", 0, "yes"},
	{"rekeylimit", 0, "0 0"},
	{"requiredrsasize", 901, "1024"},
	{"revokedkeys", 0, "none"},
	{"strictmodes", 0, "yes"},
	{"syslogfacility", 0, "AUTH"},
	{"tcpkeepalive", 0, "yes"},
	{"trustedusercakeys", 0, "none"},
	{"usedns", 0, "yes"},
	{"usedns", 608, "no"},
	{"usepam", 0, "no"},
	{"x11forwarding", 0, "no"},
	{"x11uselocalhost", 0, "yes"},
}

// moreSignatures are what OpenSSH has beside its defaults, for patterns such as +ssh-rsa*. Other lists cannot have patterns behind a +.
const moreSignatures = "ssh-rsa,ssh-rsa-cert-v01@openssh.com"

// defaultOf is the value of a keyword without a line; nil if the version has no such keyword.
func defaultOf(keyword string, version int64) []string {
	var value string
	for _, d := range sshdDefaults {
		if d.keyword == keyword && d.since <= version {
			value = d.value
		}
	}
	return strings.Fields(value)
}

// effective is what a server does for connections of a block, nil being those that no block matches: the block's values, else the
// global ones, else the defaults of the version.
func (c *sshdConfig) effective(block *sshdBlock, version int64) sshdSettings {
	all := sshdSettings{}
	for _, d := range sshdDefaults {
		all[d.keyword] = defaultOf(d.keyword, version)
	}
	layers := []sshdSettings{c.global}
	if block != nil {
		layers = append(layers, block.set)
	}
	for _, layer := range layers {
		for name, value := range layer {
			if sshdKeywords[name].form == sshAlgorithms {
				value = assembleAlgorithms(name, value[0], version)
			}
			all[name] = value
		}
	}
	for name, value := range all {
		if sshdKeywords[name].form == sshAlgorithms && len(value) == 1 {
			all[name] = words(value[0], ",")
		}
	}
	return all
}

// assembleAlgorithms resolves a list that adds to the defaults (+), takes from them (-), or puts some of them first (^).
func assembleAlgorithms(name, list string, version int64) []string {
	usual := words(strings.Join(defaultOf(name, version), ","), ",")
	if list == "" || strings.IndexByte("+-^", list[0]) < 0 {
		return words(list, ",")
	}
	known := append(slices.Clone(usual), words(moreSignatures, ",")...)
	var named []string
	for _, pattern := range words(list[1:], ",") {
		if !strings.ContainsAny(pattern, "*?") || list[0] == '-' {
			named = append(named, pattern)
			continue
		}
		for _, k := range known {
			if matchesAlgorithm(pattern, k) {
				named = append(named, k)
			}
		}
	}
	isNamed := func(algorithm string) bool {
		return slices.ContainsFunc(named, func(pattern string) bool { return matchesAlgorithm(pattern, algorithm) })
	}
	switch list[0] {
	case '+':
		for _, n := range named {
			if !slices.Contains(usual, n) {
				usual = append(usual, n)
			}
		}
		return usual
	case '-':
		return slices.DeleteFunc(usual, isNamed)
	}
	return append(named, slices.DeleteFunc(usual, isNamed)...)
}

func matchesAlgorithm(pattern, algorithm string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[", `\[`), algorithm)
	return err == nil && ok
}

var opensshVersion = regexp.MustCompile(`OpenSSH_(\d{1,2})\.(\d{1,2})((?:\.\d{1,2})?p\d{1,2})`)

// sshdPrograms are where the server is, by distribution.
var sshdPrograms = []string{"/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd", "/usr/lib/ssh/sshd", "/sbin/sshd"}

// sshdVersion looks for the version in the program; a number of 0 if it is not to be found.
func (s *Surveys) sshdVersion(program string) (text string, number int64, err error) {
	data, err := s.read(program, maxFile)
	if err != nil {
		return "", 0, err
	}
	m := opensshVersion.FindSubmatch(data)
	if m == nil {
		return "", 0, nil
	}
	major, minor := string(m[1]), string(m[2])
	return major + "." + minor + string(m[3]), numberOr(major, 0)*100 + numberOr(minor, 0), nil
}
