package event

// accessFacts are the kinds of facts about who may come in and what they may do: accounts, passwords, PAM, sudo, SSH, cron. Each is
// a variable too, by which surveys make facts. No fact holds a password's hash, or a part of one.
var accessFacts = []*FactKind{
	Account, Password, AccountGroup, Home, LoginDefs, LoginShells, Umask, SessionTimeout, RootPath,
	PAM, FailLock, PasswordQuality, PasswordHistory,
	Sudo, SudoRule, SSHServer, SSHHostKey, SSHAuthorizedKey,
	Scheduler, CronJob, Polkit, SecureTTY,
}

// Account is a line of /etc/passwd.
var Account = &FactKind{
	Name: "user", Doc: "A user that /etc/passwd has.", Of: "the user's name",
	Fields: []FactField{
		{"uid", FactNumber, "The number."},
		{"gid", FactNumber, "The number of the primary group."},
		{"group", FactText, "The primary group's name; absent if /etc/group has none of that number."},
		{"group_exists", FactTruth, "Whether /etc/group has the primary group."},
		{"home", FactText, "The home directory."},
		{"shell", FactText, "The shell; an empty one is /bin/sh."},
		{"human", FactTruth, "A person's: from UID_MIN of login.defs (1000) on, and not nobody."},
		{"system", FactTruth, "A program's: neither root nor a person's."},
		{"can_login", FactTruth, "The shell is one: not nologin, false, true, sync, halt or shutdown."},
		{"shell_listed", FactTruth, "/etc/shells names the shell."},
		{"shadowed", FactTruth, "The password is in /etc/shadow, not in the line itself."},
		{"duplicate_uid", FactTruth, "Another line has the same number."},
		{"duplicate_name", FactTruth, "Another line has the same name."},
		{"duplicate_home", FactTruth, "Another user who can log in has the same home directory."},
		{"nis", FactTruth, "It is no user but a reference to a directory service: it begins with + or -."},
		{"plain_name", FactTruth, "The name is of letters, digits, - _ and . only, and is no number."},
	},
}

// Password is what /etc/shadow says of a user, without the hash.
var Password = &FactKind{
	Name: "password", Doc: "What is known of a user's password and its age, without its hash.", Of: "the user's name",
	Fields: []FactField{
		{"uid", FactNumber, "The user's number; absent if /etc/passwd has no such user."},
		{"human", FactTruth, "As of the user."},
		{"system", FactTruth, "As of the user."},
		{"can_login", FactTruth, "As of the user."},
		{"state", FactText, "set; locked (a hash behind an exclamation mark); none (nothing can match, as * or !); empty (none is asked for); " +
			"invalid (text that is no hash); missing (/etc/shadow has no line for the user)."},
		{"kept_in", FactText, "shadow or passwd: the file that has it."},
		{"hash", FactText, "The algorithm: yescrypt, gost-yescrypt, scrypt, bcrypt, sha512, sha256, sha1, md5, sunmd5, nthash, des, bsdi or unknown; absent without a hash."},
		{"hash_strong", FactTruth, "The algorithm is yescrypt, gost-yescrypt, scrypt, bcrypt or sha512; absent without a hash."},
		{"rounds", FactNumber, "Rounds that the hash names for sha256 or sha512, 5000 if it names none; of bcrypt 2 to the power of its cost."},
		{"last_change", FactNumber, "Day of the last change since 1970; 0 demands one at the next login; absent if ageing is off."},
		{"age_days", FactNumber, "Days since the last change."},
		{"changed_in_future", FactTruth, "The last change is later than today; absent without one."},
		{"min_days", FactNumber, "Days until it may be changed again."},
		{"max_days", FactNumber, "Days until it must be changed; absent or negative is never."},
		{"warn_days", FactNumber, "Days before that on which the user is warned."},
		{"inactive_days", FactNumber, "Days after that on which it is still accepted; absent is for ever."},
		{"expires_day", FactNumber, "Day since 1970 on which the account ends; absent is never."},
		{"account_expired", FactTruth, "That day has come; false if there is none."},
		{"orphan", FactTruth, "/etc/passwd has no user of that name."},
	},
}

// AccountGroup is a line of /etc/group.
var AccountGroup = &FactKind{
	Name: "group", Doc: "A group that /etc/group has.", Of: "the group's name",
	Fields: []FactField{
		{"gid", FactNumber, "The number."},
		{"members", FactTexts, "The users that the line names."},
		{"admins", FactTexts, "The users that may change who is in it, by /etc/gshadow."},
		{"users", FactNumber, "How many users are in it: members, and those that have it as their primary group."},
		{"unknown_members", FactNumber, "How many members /etc/passwd has not."},
		{"duplicate_gid", FactTruth, "Another line has the same number."},
		{"duplicate_name", FactTruth, "Another line has the same name."},
		{"has_password", FactTruth, "A password lets users in who are not members."},
		{"nis", FactTruth, "It is no group but a reference to a directory service: it begins with + or -."},
	},
}

// Home is the home directory of a user who can log in.
var Home = &FactKind{
	Name: "home", Doc: "The home directory of a user who can log in, and the dot files in it.", Of: "the user's name",
	Fields: []FactField{
		{"uid", FactNumber, "The user's number."},
		{"path", FactText, "The directory."},
		{"exists", FactTruth, "Whether it is there, and a directory."},
		{"owned", FactTruth, "It is the user's own."},
		{"owner", FactText, "Its owner's name."},
		{"mode", FactNumber, "Its permission bits as a number: 0750 is 488."},
		{"mode_octal", FactText, "The same as four octal digits."},
		{"group_write", FactTruth, "Its group may write to it."},
		{"other_access", FactTruth, "Everybody may read it, write to it or enter it."},
		{"has_forward", FactTruth, "It has a .forward."},
		{"has_rhosts", FactTruth, "It has a .rhosts or .shosts."},
		{"has_netrc", FactTruth, "It has a .netrc."},
		{"netrc_open", FactTruth, "Its .netrc can be read by others than the user; false without one."},
		{"history_open", FactTruth, "The history of a shell can be read by others than the user; false without one."},
		{"writable_dotfiles", FactNumber, "How many dot files others may write to."},
		{"foreign_dotfiles", FactNumber, "How many dot files are another user's, and not root's."},
		{"loose_files", FactTexts, "The names of those that others may read or write to though they should not, or that are another user's."},
		{"ssh_open", FactTruth, "Others may write to .ssh or to what is in it, or read private keys in it; false without one."},
	},
}

// LoginDefs are the defaults of new accounts.
var LoginDefs = &FactKind{
	Name: "logindefs", Doc: "Defaults of new accounts, by /etc/login.defs and /etc/default/useradd.", Of: "/etc/login.defs",
	Fields: []FactField{
		{"pass_max_days", FactNumber, "PASS_MAX_DAYS."},
		{"pass_min_days", FactNumber, "PASS_MIN_DAYS."},
		{"pass_warn_age", FactNumber, "PASS_WARN_AGE."},
		{"inactive_days", FactNumber, "INACTIVE of useradd: days after expiry; -1 is for ever, which is the default."},
		{"encrypt_method", FactText, "ENCRYPT_METHOD in capitals; DES if it is not set."},
		{"hash_strong", FactTruth, "It is YESCRYPT, SHA512 or BCRYPT."},
		{"sha_rounds", FactNumber, "SHA_CRYPT_MIN_ROUNDS, 5000 if it is not set."},
		{"yescrypt_cost", FactNumber, "YESCRYPT_COST_FACTOR, 5 if it is not set."},
		{"fail_delay", FactNumber, "FAIL_DELAY: seconds after a failed login."},
		{"login_retries", FactNumber, "LOGIN_RETRIES."},
		{"uid_min", FactNumber, "UID_MIN."},
		{"create_home", FactText, "CREATE_HOME: yes or no."},
		{"home_mode", FactNumber, "HOME_MODE as a number; without it 0777 less UMASK."},
		{"home_mode_octal", FactText, "The same as four octal digits."},
		{"home_private", FactTruth, "New home directories let others neither write nor, outside of the group, do anything: 0750 or less."},
	},
}

// LoginShells is /etc/shells.
var LoginShells = &FactKind{
	Name: "shells", Doc: "The shells that users may choose.", Of: "/etc/shells",
	Fields: []FactField{
		{"names", FactTexts, "The shells."},
		{"nologin", FactTruth, "nologin or false is one of them."},
	},
}

// Umask is what new files are denied.
var Umask = &FactKind{
	Name: "umask", Doc: "The file mode mask that a login of somebody begins with: the weakest that shells set, else that of PAM and login.defs.", Of: "users or root",
	Fields: []FactField{
		{"octal", FactText, "The mask as four octal digits."},
		{"group_write", FactTruth, "It lets the group write to new files."},
		{"other_access", FactTruth, "It lets everybody read, write to or enter new files."},
		{"explicit", FactTruth, "Some file sets it; false if it is only the kernel's or init's."},
		{"settings", FactNumber, "How many places set it."},
	},
}

// SessionTimeout is after how long idle shells end.
var SessionTimeout = &FactKind{
	Name: "tmout", Doc: "When login shells end that nobody types into, by TMOUT in the files that they all read.", Of: "shells",
	Fields: []FactField{
		{"seconds", FactNumber, "The longest that is set; 0 is never; absent if none is."},
		{"set", FactTruth, "Some file sets it."},
		{"readonly", FactTruth, "Users cannot change it."},
		{"exported", FactTruth, "Shells that a shell runs have it too."},
		{"files", FactTexts, "The files that set it."},
	},
}

// RootPath is one directory in which root looks for programs.
var RootPath = &FactKind{
	Name: "rootpath", Doc: "A directory in which root's shells, sudo or root's cron jobs look for programs.", Of: "the directory, as it is written",
	Fields: []FactField{
		{"absolute", FactTruth, "It begins with a slash; false also of an empty entry, which is the working directory."},
		{"exists", FactTruth, "It is there, and a directory."},
		{"foreign_write", FactTruth, "Others than root can write to it or to a directory above, or could make it."},
		{"files", FactTexts, "The files that say so."},
	},
}

// PAM is what happens when a program asks PAM.
var PAM = &FactKind{
	Name: "pam", Doc: "The modules that PAM runs for a service and a type, included files and substacks in their place; what it decides is found by trying.", Of: "SERVICE:TYPE",
	Fields: []FactField{
		{"service", FactText, "The service: the name of its file in /etc/pam.d."},
		{"type", FactText, "auth, account, password or session."},
		{"included", FactTruth, "It is not for a program but a part of others: common-auth, system-auth …"},
		{"modules", FactTexts, "The modules in order, without pam_ and .so."},
		{"unix", FactTruth, "pam_unix is one of them."},
		{"open", FactTruth, "Of auth: it succeeds though every module fails that could prove who somebody is."},
		{"denies", FactTruth, "It fails though every module but pam_deny succeeds."},
		{"locks", FactTruth, "Of auth: pam_faillock or pam_tally2 refuses a locked user, whatever other modules say."},
		{"counts_failures", FactTruth, "Of auth: a wrong password comes to the notice of pam_faillock or pam_tally2."},
		{"faillock", FactTruth, "pam_faillock or pam_tally2 is one of the modules."},
		{"quality", FactTruth, "Of password: a bad password is refused by pam_pwquality, pam_cracklib or pam_passwdqc, whatever other modules say."},
		{"history", FactTruth, "Of password: an old password is refused by pam_pwhistory, whatever other modules say, or pam_unix remembers some."},
		{"nullok", FactTruth, "pam_unix accepts empty passwords."},
		{"unix_remember", FactTruth, "Of password: pam_unix is told to remember passwords, which it keeps as weak hashes."},
		{"unix_use_authtok", FactTruth, "Of password: pam_unix takes the password that the modules before it have seen; also true if it is the first."},
		{"unix_hash", FactText, "Of password: the algorithm that pam_unix hashes with: yescrypt, sha512 …, by its argument, else by ENCRYPT_METHOD of login.defs."},
		{"unix_hash_strong", FactTruth, "Of password: it is yescrypt, gost_yescrypt, blowfish or sha512."},
		{"wheel", FactTruth, "Of auth: who is not in the group of pam_wheel is refused, whatever other modules say."},
		{"wheel_group", FactText, "That group: wheel if it is not named."},
		{"wheel_users", FactNumber, "How many users are in that group."},
		{"securetty", FactTruth, "Of auth: pam_securetty is one of the modules."},
		{"access", FactTruth, "pam_access is one of the modules."},
		{"rootok", FactTruth, "Of auth: root need not prove anything (pam_rootok)."},
	},
}

// FailLock is when accounts are locked.
var FailLock = &FactKind{
	Name: "faillock", Doc: "When pam_faillock or pam_tally2 locks users out, by arguments and faillock.conf.", Of: "the file of PAM that calls it, or none",
	Fields: []FactField{
		{"enabled", FactTruth, "Some service's file calls it."},
		{"module", FactText, "faillock, tally2 or none."},
		{"deny", FactNumber, "Failures until a user is locked; 0 is never."},
		{"fail_interval", FactNumber, "Seconds within which they must happen."},
		{"unlock_time", FactNumber, "Seconds until the user is unlocked; 0 is never."},
		{"even_deny_root", FactTruth, "root is locked too."},
		{"root_unlock_time", FactNumber, "Seconds until root is unlocked; 0 is never."},
		{"audit", FactTruth, "Names of unknown users are logged."},
		{"local_users_only", FactTruth, "Users of directory services are left out."},
	},
}

// PasswordQuality is which passwords are refused.
var PasswordQuality = &FactKind{
	Name: "pwquality", Doc: "Which new passwords are refused, by arguments of pam_pwquality (or pam_cracklib, pam_passwdqc) and pwquality.conf.", Of: "the file of PAM that calls it, or none",
	Fields: []FactField{
		{"enabled", FactTruth, "Some service's file calls it."},
		{"module", FactText, "pwquality, cracklib, passwdqc or none. Of passwdqc only the shortest length is known."},
		{"minlen", FactNumber, "Characters, less what credits give."},
		{"shortest", FactNumber, "The fewest characters that can pass: minlen less the credits that are granted."},
		{"difok", FactNumber, "Characters that must not have been in the old password."},
		{"dcredit", FactNumber, "Credit for digits; negative is how many are demanded."},
		{"ucredit", FactNumber, "The same for capital letters."},
		{"lcredit", FactNumber, "The same for small letters."},
		{"ocredit", FactNumber, "The same for other characters."},
		{"minclass", FactNumber, "Classes of characters that are demanded."},
		{"classes", FactNumber, "Classes that are demanded by minclass or by negative credits, whichever are more."},
		{"maxrepeat", FactNumber, "The same character in a row that is allowed; 0 is any."},
		{"maxsequence", FactNumber, "Characters of a sequence as 1234 that are allowed; 0 is any."},
		{"dictcheck", FactTruth, "Words of a dictionary are refused."},
		{"usercheck", FactTruth, "What holds the user's name is refused."},
		{"enforcing", FactTruth, "It refuses, and not only warns."},
		{"enforce_for_root", FactTruth, "It refuses what root sets too."},
		{"retry", FactNumber, "Tries that a user has."},
	},
}

// PasswordHistory is which old passwords are refused.
var PasswordHistory = &FactKind{
	Name: "pwhistory", Doc: "How many old passwords are refused, by arguments of pam_pwhistory and pwhistory.conf, or of pam_unix.", Of: "the file of PAM that calls it, or none",
	Fields: []FactField{
		{"enabled", FactTruth, "Some service's file calls it."},
		{"module", FactText, "pwhistory, unix or none."},
		{"remember", FactNumber, "How many."},
		{"enforce_for_root", FactTruth, "It refuses what root sets too."},
		{"use_authtok", FactTruth, "It takes the password that the modules before it have seen; also true if it is the first."},
	},
}

// Sudo are options of sudo.
var Sudo = &FactKind{
	Name: "sudo", Doc: "Options of sudo, by Defaults lines of sudoers: those for all, and those that hold within a scope.", Of: "/etc/sudoers, or a scope as Defaults:alice",
	Fields: []FactField{
		{"installed", FactTruth, "sudo is there. Without it the other fields are absent."},
		{"scope", FactText, "Empty for all; else the user (:), host (@), command (!) or target user (>) that the options are for."},
		{"version", FactText, "The version, as far as the program tells."},
		{"authenticate", FactTruth, "Users must prove who they are."},
		{"use_pty", FactTruth, "Commands run in a terminal of their own."},
		{"logfile", FactText, "The log file; empty if there is none."},
		{"syslog", FactTruth, "Commands are told to syslog."},
		{"log_input", FactTruth, "What is typed into commands is kept."},
		{"log_output", FactTruth, "What commands print is kept."},
		{"timestamp_timeout", FactNumber, "Seconds for which a password is not asked for again; negative is for ever; 900, the longest that distributions build in, if no line says it."},
		{"timestamp_type", FactText, "What that holds for: global, tty, ppid or kernel."},
		{"passwd_tries", FactNumber, "Tries that a user has."},
		{"env_reset", FactTruth, "Commands are given a clean environment."},
		{"setenv", FactTruth, "Users may set the environment of commands."},
		{"env_keep_risky", FactTexts, "Variables that are kept though they make programs load what the user chooses: LD_PRELOAD, PYTHONPATH, PATH …"},
		{"keeps_risky", FactTruth, "Any of them is kept."},
		{"secure_path", FactTexts, "Directories in which commands are looked for; absent if it is the user's own PATH."},
		{"visiblepw", FactTruth, "Passwords may be typed where they can be read."},
		{"pwfeedback", FactTruth, "Asterisks show how long a password is."},
		{"targetpw", FactTruth, "The target user's password is asked for, not the user's own (also rootpw and runaspw)."},
		{"noexec", FactTruth, "Commands cannot run other programs."},
		{"requiretty", FactTruth, "It works only from a terminal."},
	},
}

// SudoRule is what somebody may do as somebody else.
var SudoRule = &FactKind{
	Name: "sudorule", Doc: "A command that sudoers or doas.conf let somebody run as somebody else. Arguments of commands are not told.", Of: "who, and the command; source is the line",
	Fields: []FactField{
		{"tool", FactText, "sudo or doas."},
		{"users", FactTexts, "Users and groups (%wheel), aliases resolved."},
		{"everybody", FactTruth, "ALL is one of the users."},
		{"only_root", FactTruth, "root is the only user."},
		{"hosts", FactTexts, "Machines that it is for, aliases resolved."},
		{"runas", FactTexts, "Whom it is run as: users, aliases resolved."},
		{"as_root", FactTruth, "root or ALL is one of them."},
		{"command", FactText, "The command without arguments: ALL, a path, sudoedit or list; aliases resolved."},
		{"all_commands", FactTruth, "It is ALL."},
		{"denied", FactTruth, "It is forbidden, not allowed."},
		{"exclusions", FactTruth, "The line allows ALL and then forbids some, which a copy of the program gets around."},
		{"nopasswd", FactTruth, "No password is asked for."},
		{"setenv", FactTruth, "The user may set the command's environment."},
		{"wildcard", FactTruth, "The command or its arguments have a *, ?, [ or a regular expression."},
		{"shell_escape", FactTruth, "The command is known to run other programs or to write any file, with the arguments that the rule allows: a shell, an editor, an interpreter, a pager, find, tar …"},
		{"foreign_write", FactTruth, "Others than root can change the program or a directory above it; absent if it is not there."},
	},
}

// SSHServer is the effective configuration of OpenSSH's server.
var SSHServer = &FactKind{
	Name: "sshd", Doc: "What OpenSSH's server is configured to do: includes resolved, the first value of a keyword, else the default of its version. " +
		"Each Match block is a fact of its own, with what is effective if only that block matches. Nothing is reported where there is no server.",
	Of: "the configuration file, or the Match line",
	Fields: []FactField{
		{"match", FactText, "Criteria of the Match block; empty for the rest."},
		{"version", FactText, "OpenSSH's version, as 9.2p1; absent if the program does not tell, and then defaults are the oldest that are known."},
		{"version_number", FactNumber, "The same as a number: 902."},
		{"permitrootlogin", FactText, "yes, no, prohibit-password or forced-commands-only."},
		{"passwordauthentication", FactText, "yes or no."},
		{"kbdinteractiveauthentication", FactText, "yes or no; also called ChallengeResponseAuthentication."},
		{"pubkeyauthentication", FactText, "yes or no."},
		{"hostbasedauthentication", FactText, "yes or no."},
		{"gssapiauthentication", FactText, "yes or no."},
		{"kerberosauthentication", FactText, "yes or no."},
		{"authenticationmethods", FactTexts, "Lists of methods of which one must succeed; any."},
		{"passwords", FactTruth, "Whether a password alone can get in: by password, or keyboard-interactive with PAM, unless AuthenticationMethods demands more."},
		{"permitemptypasswords", FactText, "yes or no."},
		{"permituserenvironment", FactText, "yes, no or a pattern."},
		{"permituserrc", FactText, "yes or no."},
		{"ignorerhosts", FactText, "yes, no or shosts-only."},
		{"ignoreuserknownhosts", FactText, "yes or no."},
		{"usepam", FactText, "yes or no."},
		{"strictmodes", FactText, "yes or no."},
		{"usedns", FactText, "yes or no."},
		{"x11forwarding", FactText, "yes or no."},
		{"x11uselocalhost", FactText, "yes or no."},
		{"allowtcpforwarding", FactText, "yes, no, local or remote."},
		{"allowagentforwarding", FactText, "yes or no."},
		{"allowstreamlocalforwarding", FactText, "yes, no, local or remote."},
		{"disableforwarding", FactText, "yes or no."},
		{"gatewayports", FactText, "yes, no or clientspecified."},
		{"permittunnel", FactText, "yes, no, point-to-point or ethernet."},
		{"forwarding", FactTruth, "Whether anything can be forwarded: TCP, sockets, X11, agents or tunnels."},
		{"compression", FactText, "yes or no."},
		{"tcpkeepalive", FactText, "yes or no."},
		{"printlastlog", FactText, "yes or no."},
		{"exposeauthinfo", FactText, "yes or no."},
		{"loglevel", FactText, "QUIET, FATAL, ERROR, INFO, VERBOSE, DEBUG1 …"},
		{"syslogfacility", FactText, "AUTH, AUTHPRIV …"},
		{"banner", FactText, "The file that is shown before a login; none."},
		{"banner_exists", FactTruth, "There is such a file, and it is not empty; absent for none."},
		{"banner_leaks", FactTruth, "Its text has \\m, \\r, \\s, \\v or the distribution's name; absent for none."},
		{"logingracetime", FactNumber, "Seconds in which a login must succeed; 0 is no limit."},
		{"maxauthtries", FactNumber, "Tries of one connection."},
		{"maxsessions", FactNumber, "Sessions of one connection."},
		{"maxstartups_start", FactNumber, "Connections that have not logged in beyond which some are refused."},
		{"maxstartups_rate", FactNumber, "Of them, percent that are refused."},
		{"maxstartups_full", FactNumber, "Such connections beyond which all are refused."},
		{"clientaliveinterval", FactNumber, "Seconds of silence after which a client is asked for a sign; 0 is never."},
		{"clientalivecountmax", FactNumber, "Signs it may fail to give; 0 is no limit since 8.2."},
		{"requiredrsasize", FactNumber, "Bits that RSA keys must have; absent before 9.1."},
		{"rekeylimit", FactText, "Data and time after which keys are made anew."},
		{"ports", FactTexts, "Ports that it listens on."},
		{"listenaddress", FactTexts, "Addresses that it listens on, as they are written; absent is all."},
		{"ciphers", FactTexts, "Ciphers, defaults and +, - and ^ resolved."},
		{"macs", FactTexts, "Message authentication codes, likewise."},
		{"kexalgorithms", FactTexts, "Key exchanges, likewise."},
		{"hostkeyalgorithms", FactTexts, "Signatures that the server offers, likewise."},
		{"pubkeyacceptedalgorithms", FactTexts, "Signatures that it accepts of users, likewise."},
		{"hostbasedacceptedalgorithms", FactTexts, "Signatures that it accepts of machines, likewise."},
		{"casignaturealgorithms", FactTexts, "Signatures that it accepts on certificates, likewise; absent before 7.9."},
		{"hostkeys", FactTexts, "Files of its own keys."},
		{"allowusers", FactTexts, "AllowUsers."},
		{"allowgroups", FactTexts, "AllowGroups."},
		{"denyusers", FactTexts, "DenyUsers."},
		{"denygroups", FactTexts, "DenyGroups."},
		{"access_limited", FactTruth, "Any of these four is set."},
		{"acceptenv", FactTexts, "Variables that clients may set."},
		{"acceptenv_risky", FactTruth, "They may set variables that make programs load what they choose: LD_*, PATH, *."},
		{"authorizedkeysfile", FactTexts, "Files of users' keys."},
		{"authorizedkeyscommand", FactTruth, "A program is asked for users' keys."},
		{"authorizedkeyscommanduser", FactText, "As whom it runs; none."},
		{"trustedusercakeys", FactText, "File of keys that sign users' certificates; none."},
		{"chrootdirectory", FactText, "ChrootDirectory; none."},
		{"forcecommand", FactTruth, "One command runs, whatever is asked for."},
		{"subsystems", FactTexts, "Names of subsystems."},
		{"files", FactTexts, "The files that were read, in order."},
	},
}

// SSHHostKey is a key of the server.
var SSHHostKey = &FactKind{
	Name: "hostkey", Doc: "A file of a key of the SSH server. Private keys are not opened: what is known of a key is of its public half.", Of: "the file",
	Fields: []FactField{
		{"private", FactTruth, "It is the private half."},
		{"used", FactTruth, "The server is configured to use it."},
		{"exists", FactTruth, "It is there."},
		{"owner", FactText, "Its owner's name."},
		{"group", FactText, "Its group's name."},
		{"mode", FactNumber, "Its permission bits as a number: 0600 is 384."},
		{"mode_octal", FactText, "The same as four octal digits."},
		{"guarded", FactTruth, "root's; of a private key nobody else may do anything with it, but a group ssh_keys may read it; of a public one nobody else may write to it."},
		{"type", FactText, "rsa, dsa, ecdsa, ed25519 …; absent if its public half cannot be read."},
		{"bits", FactNumber, "Its length."},
		{"weak", FactTruth, "It is DSA, or RSA of less than 2048 bits."},
	},
}

// SSHAuthorizedKey is a key that lets a user in.
var SSHAuthorizedKey = &FactKind{
	Name: "sshkey", Doc: "A key in a file of authorized keys.", Of: "the file, with :LINE",
	Fields: []FactField{
		{"user", FactText, "Whom it lets in."},
		{"uid", FactNumber, "The user's number."},
		{"root", FactTruth, "The number is 0."},
		{"type", FactText, "rsa, dsa, ecdsa, ed25519, sk-ed25519 …"},
		{"bits", FactNumber, "Its length; absent if the type is not known."},
		{"weak", FactTruth, "It is DSA, or RSA of less than 2048 bits."},
		{"fingerprint", FactText, "SHA256:… as ssh-keygen -l prints it."},
		{"options", FactTexts, "Names of its options in small letters."},
		{"certificate_authority", FactTruth, "It signs certificates that let in."},
		{"limited", FactTruth, "It is bound to addresses (from) or a command, or restricted."},
		{"foreign_write", FactTruth, "Others than the user and root can change the file or a directory above it."},
		{"duplicate", FactTruth, "The same key lets another user in."},
	},
}

// Scheduler is who may use cron or at.
var Scheduler = &FactKind{
	Name: "scheduler", Doc: "Who may plan commands. Reported for those that are installed.", Of: "cron or at",
	Fields: []FactField{
		{"allow_exists", FactTruth, "There is a list of those who may (cron.allow, at.allow)."},
		{"allow_users", FactTexts, "Who is on it."},
		{"deny_exists", FactTruth, "There is a list of those who may not (cron.deny, at.deny)."},
		{"deny_users", FactTexts, "Who is on it."},
		{"limited", FactTruth, "Only those on the list may; without any list only root."},
		{"guarded", FactTruth, "Nobody but root can write to the lists that there are, and nobody outside of their group can read them."},
		{"enabled", FactTruth, "Its daemon is started at boot."},
		{"running", FactTruth, "Its daemon runs; absent if the machine does not run."},
	},
	Running: []string{"running"},
}

// CronJob is a command that cron runs.
var CronJob = &FactKind{
	Name: "cronjob", Doc: "A command that cron runs, by what it names and not in full.", Of: "the file, with :LINE; or the file that is run",
	Fields: []FactField{
		{"user", FactText, "As whom it runs."},
		{"root", FactTruth, "It runs as root."},
		{"programs", FactTexts, "Files that the command names by their paths."},
		{"foreign_write", FactTruth, "Others than the user and root can change one of them, a directory above, or the file that plans it."},
		{"writable", FactTexts, "Which."},
	},
}

// Polkit is a file of rules of polkit.
var Polkit = &FactKind{
	Name: "polkit", Doc: "A file of polkit's rules.", Of: "the file",
	Fields: []FactField{
		{"vendor", FactTruth, "A package brought it."},
		{"grants", FactNumber, "How often it says yes without a password (polkit.Result.YES, or yes in a .pkla)."},
		{"grants_all", FactTruth, "It says yes where nothing tests the action or the user."},
		{"foreign_write", FactTruth, "Others than root and polkitd can change it or its directory."},
	},
}

// SecureTTY is where root may log in.
var SecureTTY = &FactKind{
	Name: "securetty", Doc: "The terminals on which root may log in, where there is /etc/securetty and pam_securetty reads it.", Of: "/etc/securetty",
	Fields: []FactField{
		{"terminals", FactTexts, "The terminals."},
		{"remote", FactTruth, "Pseudo-terminals (pts/0) are among them, which programs and networks have."},
	},
}
