package rules

import (
	"github.com/yagura-io/yagura/rules/expr"
)

// identity is who acts: as a call finds the thread, else as the process was when it was last told of.
func (r *Record) identity() (uid, gid uint32) {
	if r.HasCaller() {
		return r.Caller.EUID, r.Caller.EGID
	}
	if t := r.task(); t != nil && t.Comm[0] != 0 {
		return t.EUID, t.EGID
	}
	return r.UID, r.GID
}

// nobody is the login user of what no login began.
const nobody = 1<<32 - 1

func (r *Record) login() (uid uint32, ok bool) {
	if r.HasCaller() {
		return r.Caller.LoginUID, true
	}
	if t := r.task(); t != nil && t.Comm[0] != 0 {
		return t.LoginUID, true
	}
	return 0, false
}

// user finds who acts, once for each event.
func (r *Record) user() (User, bool) {
	if !r.asked {
		uid, _ := r.identity()
		r.who, r.known = r.names.User(r.Event, uid)
		r.asked = true
	}
	return r.who, r.known
}

// userFields are of who acts. Names are those of the container's own files, where there is one.
var userFields = []field{
	unsignedNumber("user.uid", "Effective user id.", expr.Uint32, func(r *Record) (uint64, bool) { uid, _ := r.identity(); return uint64(uid), true }),
	text("user.name", "Name of the user, by the container's own or the host's passwd file.", func(r *Record) (string, bool) {
		u, ok := r.user()
		return u.Name, ok && u.Name != ""
	}),
	text("user.homedir", "Home directory of the user.", func(r *Record) (string, bool) {
		u, ok := r.user()
		return u.Home, ok && u.Home != ""
	}),
	text("user.shell", "Shell of the user.", func(r *Record) (string, bool) {
		u, ok := r.user()
		return u.Shell, ok && u.Shell != ""
	}),
	signedNumber("user.loginuid", "User id of the login that all this came of, -1 if it came of none.", expr.Int64, func(r *Record) (int64, bool) {
		uid, ok := r.login()
		return int64(int32(uid)), ok
	}),
	text("user.loginname", "Name of the user of that login.", func(r *Record) (string, bool) {
		uid, ok := r.login()
		if !ok || uid == nobody {
			return "", false
		}
		u, ok := r.names.User(r.Event, uid)
		return u.Name, ok && u.Name != ""
	}),
	unsignedNumber("group.gid", "Effective group id.", expr.Uint32, func(r *Record) (uint64, bool) { _, gid := r.identity(); return uint64(gid), true }),
	text("group.name", "Name of the group, by the container's own or the host's group file.", func(r *Record) (string, bool) {
		_, gid := r.identity()
		name, ok := r.names.Group(r.Event, gid)
		return name, ok && name != ""
	}),
}
