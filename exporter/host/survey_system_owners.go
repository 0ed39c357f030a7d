package host

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An ownerCheck knows which numbers of users and groups are somebody's.
type ownerCheck struct {
	s         *Surveys
	subUsers  []idRange
	subGroups []idRange
	elsewhere string // where users come from beside the files, if anywhere

	mu            sync.Mutex // guards what follows
	users, groups map[uint32]bool
	err           error
}

type idRange struct{ first, count uint64 }

func (r idRange) has(id uint32) bool { return uint64(id) >= r.first && uint64(id)-r.first < r.count }

// dynamicIDs are those that systemd gives to services with DynamicUser while they run, in no file: systemd's UIDS-GIDS.md.
var dynamicIDs = idRange{61184, 65520 - 61184}

// otherDatabases are services of nsswitch.conf(5) that know users who are in no file.
var otherDatabases = strings.Fields("sss ldap winbind nis nisplus extrausers oslogin cache_oslogin homed db")

func newOwnerCheck(s *Surveys) *ownerCheck {
	c := &ownerCheck{s: s, users: map[uint32]bool{}, groups: map[uint32]bool{}}
	c.subUsers, c.subGroups = c.ranges("/etc/subuid"), c.ranges("/etc/subgid")
	text, _, err := s.configText("/etc/nsswitch.conf")
	c.keep(err)
	joinedLines(text, "#", func(_ int, line string) {
		database, services, _ := strings.Cut(line, ":")
		for service := range strings.FieldsSeq(services) {
			if (database == "passwd" || database == "group") && slices.Contains(otherDatabases, service) {
				c.elsewhere = service
			}
		}
	})
	return c
}

func (c *ownerCheck) keep(err error) {
	if c.err == nil {
		c.err = err
	}
}

// ranges reads the numbers that users may give to their containers: NAME:FIRST:COUNT.
func (c *ownerCheck) ranges(file string) (all []idRange) {
	text, _, err := c.s.configText(file)
	c.keep(err)
	joinedLines(text, "#", func(n int, line string) {
		fields := strings.Split(line, ":")
		if len(fields) != 3 {
			c.keep(fmt.Errorf("%s: want NAME:FIRST:COUNT, got %.60q", place(file, n), line))
			return
		}
		first, err := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 33)
		if c.keep(errors.Join(err, err2)); err == nil && err2 == nil {
			all = append(all, idRange{first, count})
		}
	})
	return all
}

func (c *ownerCheck) unowned(uid uint32) bool {
	return c.nobodys(uid, c.users, c.subUsers, c.s.UserName)
}

func (c *ownerCheck) ungrouped(gid uint32) bool {
	return c.nobodys(gid, c.groups, c.subGroups, c.s.GroupName)
}

func (c *ownerCheck) nobodys(id uint32, known map[uint32]bool, delegated []idRange, name func(uint32) (string, bool, error)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	somebodys, seen := known[id]
	if !seen {
		var err error
		_, somebodys, err = name(id)
		c.keep(err)
		somebodys = somebodys || err != nil || dynamicIDs.has(id) || slices.ContainsFunc(delegated, func(r idRange) bool { return r.has(id) })
		if !somebodys && c.elsewhere != "" {
			c.keep(fmt.Errorf("files belong to %d, who is not in the files of users and groups; but there are more from %s", id, c.elsewhere))
			somebodys = true
		}
		known[id] = somebodys
	}
	return !somebodys
}
