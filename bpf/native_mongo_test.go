package bpf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// Pieces of BSON and of MongoDB's messages, by the specifications bsonspec.org and "MongoDB Wire Protocol".

func bsonDocument(elements ...string) string {
	body := strings.Join(elements, "")
	return le32(uint32(len(body)+5)) + body + "\x00"
}

func bsonText(key, value string) string {
	return "\x02" + key + "\x00" + le32(uint32(len(value)+1)) + value + "\x00"
}

func bsonInt(key string, value int32) string { return "\x10" + key + "\x00" + le32(uint32(value)) }

func bsonDouble(key string, value float64) string {
	return "\x01" + key + "\x00" + string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(value)))
}

func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }

func mongoMessage(id, to, op uint32, body ...string) string {
	text := strings.Join(body, "")
	return le32(uint32(16+len(text))) + le32(id) + le32(to) + le32(op) + text
}

const (
	mongoReply      = 1
	mongoInsert     = 2002
	mongoQuery      = 2004
	mongoCompressed = 2012
	mongoMsg        = 2013

	mongoMoreToCome     = 1 << 1
	mongoExhaustAllowed = 1 << 16
)

// mongoAsk is a command as OP_MSG, whose first key is the command.
func mongoAsk(id, flags uint32, command string) string {
	return mongoMessage(id, 0, mongoMsg, le32(flags), "\x00", bsonDocument(bsonText(command, "things"), bsonText("$db", "shop")))
}

func mongoAnswer(id, to, flags uint32, elements ...string) string {
	return mongoMessage(id, to, mongoMsg, le32(flags), "\x00", bsonDocument(elements...))
}

func mongoFine(id, to uint32) string {
	return mongoAnswer(id, to, 0, bsonText("cursor", strings.Repeat("x", 300)), bsonDouble("ok", 1))
}

func mongoFailure(id, to uint32, text string, code int32) string {
	return mongoAnswer(id, to, 0, bsonDouble("ok", 0), bsonText("errmsg", text), bsonInt("code", code), bsonText("codeName", "Some"))
}

// mongoHello is what drivers open a connection with: the old operation, of the collection admin.$cmd.
func mongoHello(id uint32, collection, command string) string {
	return mongoMessage(id, 0, mongoQuery, le32(0), collection+"\x00", le32(0), le32(^uint32(0)), bsonDocument(bsonInt(command, 1), bsonText("client", strings.Repeat("d", 200))))
}

func mongoOldAnswer(id, to, flags uint32, documents ...string) string {
	return mongoMessage(id, to, mongoReply, le32(flags), le32(0)+le32(0), le32(0), le32(uint32(len(documents))), strings.Join(documents, ""))
}

// everyCut checks what the parsers make of a conversation, whole and cut into calls of few bytes.
func everyCut(t *testing.T, protocol string, conversation []say, want ...string) {
	t.Helper()
	if got := converse(t, protocol, conversation...); !slices.Equal(got, want) {
		t.Errorf("whole: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, size := range []int{1, 2, 3, 7, 29} {
		if got := converse(t, protocol, cut(conversation, size)...); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: got\n%s\nwant\n%s", size, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestNativeMongo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("this index does not exist; ", 20)
	for name, c := range map[string]struct {
		talk []say
		want []string
	}{
		"handshake and commands": {
			[]say{asks(mongoHello(1, "admin.$cmd", "isMaster")), waits(5), answers(mongoOldAnswer(9, 1, 8, bsonDocument(bsonInt("helloOk", 1), bsonDouble("ok", 1)))),
				asks(mongoAsk(2, 0, "find")), waits(7), answers(mongoFine(10, 2)),
				asks(mongoAsk(3, 0, "replSetUpdatePosition")), waits(8), answers(mongoAnswer(11, 3, 0, bsonDouble("ok", 1)))},
			[]string{"mongo method=0 status=0 ok 5 ns isMaster", "mongo method=0 status=0 ok 7 ns find", "mongo method=0 status=0 ok 8 ns replSetUpdatePosition"},
		},
		"a name that is no command's is not told": {
			[]say{asks(mongoAsk(1, 0, "secretword")), answers(mongoFailure(2, 1, "no such command", 59)),
				asks(mongoAsk(3, 0, strings.Repeat("find", 20))), answers(mongoFailure(4, 3, "no such command", 59)),
				asks(mongoAsk(5, 0, "Find")), answers(mongoFailure(6, 5, "no such command", 59))},
			[]string{"mongo method=0 status=59 failed 0 ns -", "mongo method=0 status=59 failed 0 ns -", "mongo method=0 status=59 failed 0 ns -"},
		},
		"a failure has the code behind its text": {
			[]say{asks(mongoAsk(1, 0, "drop")), waits(3), answers(mongoFailure(2, 1, "ns not found", 26)),
				asks(mongoAsk(3, 0, "dropIndexes")), waits(4), answers(mongoFailure(4, 3, long, 27))},
			[]string{"mongo method=0 status=26 failed 3 ns drop", "mongo method=0 status=27 failed 4 ns dropIndexes"},
		},
		"a failure without a code": {
			[]say{asks(mongoAsk(1, 0, "drop")), answers(mongoAnswer(2, 1, 0, bsonDouble("ok", 0))),
				asks(mongoAsk(3, 0, "drop")), answers(mongoAnswer(4, 3, 0, bsonDouble("ok", 0), bsonText("errmsg", "no"))),
				asks(mongoAsk(5, 0, "drop")), answers(mongoAnswer(6, 5, 0, bsonDouble("ok", 0), bsonText("note", strings.Repeat("n", 40))))},
			slices.Repeat([]string{"mongo method=0 status=0 failed 0 ns drop"}, 3),
		},
		"a write that wants no answer": {
			[]say{asks(mongoAsk(1, mongoMoreToCome, "insert")), asks(mongoAsk(2, 0, "find")), waits(2), answers(mongoFine(3, 2))},
			[]string{"mongo method=0 status=0 one_way 0 ns insert", "mongo method=0 status=0 ok 2 ns find"},
		},
		"the first of many replies is the answer": {
			[]say{asks(mongoAsk(1, mongoExhaustAllowed, "hello")), waits(4), answers(mongoAnswer(20, 1, mongoMoreToCome, bsonDouble("ok", 1))),
				waits(9), answers(mongoAnswer(21, 20, mongoMoreToCome, bsonDouble("ok", 1))),
				waits(9), answers(mongoAnswer(22, 21, 0, bsonDouble("ok", 1))),
				asks(mongoAsk(2, 0, "ping")), waits(1), answers(mongoAnswer(23, 2, 0, bsonDouble("ok", 1)))},
			[]string{"mongo method=0 status=0 ok 4 ns hello", "mongo method=0 status=0 ok 1 ns ping"},
		},
		"what is compressed has no name": {
			[]say{asks(mongoMessage(1, 0, mongoCompressed, le32(mongoMsg), le32(500), "\x02", strings.Repeat("z", 90))), waits(6),
				answers(mongoMessage(2, 1, mongoCompressed, le32(mongoMsg), le32(70), "\x02", strings.Repeat("z", 33)))},
			[]string{"mongo method=0 status=0 ok 6 ns -"},
		},
		"old operations": {
			[]say{asks(mongoMessage(1, 0, mongoInsert, le32(0), "shop.things\x00", bsonDocument(bsonInt("a", 1)))),
				asks(mongoHello(2, "shop.things", "find")), waits(1), answers(mongoOldAnswer(3, 2, 2, bsonDocument(bsonText("$err", "not master")))),
				asks(mongoHello(4, "shop.things", "find")), waits(2), answers(mongoOldAnswer(5, 4, 1)),
				asks(mongoHello(6, "admin.$cmd", "hello")), waits(3), answers(mongoOldAnswer(7, 6, 8, bsonDocument(bsonDouble("ok", 0), bsonText("errmsg", "no"), bsonInt("code", 18)))),
				asks(mongoHello(8, "admin.$changes", "find")), waits(4), answers(mongoOldAnswer(9, 8, 8))},
			[]string{"mongo method=0 status=0 one_way 0 ns -", "mongo method=0 status=0 failed 1 ns -", "mongo method=0 status=0 failed 2 ns -", "mongo method=0 status=18 failed 3 ns hello", "mongo method=0 status=0 ok 4 ns -"},
		},
		"a document sequence before the document": {
			[]say{asks(mongoMessage(1, 0, mongoMsg, le32(0), "\x01", le32(4+10+10), "documents\x00", bsonDocument()+bsonDocument(), "\x00", bsonDocument(bsonText("insert", "things")))),
				answers(mongoAnswer(2, 1, 0, bsonInt("n", 2), bsonDouble("ok", 1)))},
			[]string{"mongo method=0 status=0 ok 0 ns -"},
		},
		"an answer to what was asked before": {
			[]say{answers(mongoFine(1, 77)), asks(mongoAsk(78, 0, "count")), waits(1), answers(mongoFine(2, 77)), waits(2), answers(mongoFine(3, 78))},
			[]string{"unmatched mongo no_request", "unmatched mongo no_request", "mongo method=0 status=0 ok 3 ns count"},
		},
		"requests that wait together": {
			[]say{asks(mongoAsk(1, 0, "find")), asks(mongoAsk(2, 0, "ping")), waits(1), answers(mongoFine(3, 1)), waits(1), answers(mongoFine(4, 2))},
			[]string{"mongo method=0 status=0 ok 1 ns find", "mongo method=0 status=0 ok 2 ns ping"},
		},
		"an empty document": {
			[]say{asks(mongoMessage(1, 0, mongoMsg, le32(0), "\x00", bsonDocument())), answers(mongoMessage(2, 1, mongoMsg, le32(0), "\x00", bsonDocument()))},
			[]string{"mongo method=0 status=0 ok 0 ns -"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyCut(t, "mongo", c.talk, append(c.want, "is mongo")...)
		})
	}
}

func TestNativeMongoPartsOfOneCall(t *testing.T) {
	t.Parallel()
	ask, answer := mongoAsk(1, 0, "aggregate"), mongoFailure(2, 1, "no", 9)
	got := converse(t, "mongo", asks(ask[:16], ask[16:30], ask[30:]), answers(answer[:4], answer[4:16], answer[16:]))
	if want := []string{"mongo method=0 status=9 failed 0 ns aggregate", "is mongo"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Commands of the manual's reference that drivers, shells, tools and members of a replica set send.
var mongoCommands = strings.Fields(`abortTransaction aggregate authenticate buildInfo buildinfo bulkWrite collMod collStats
	commitTransaction compact connPoolStats connectionStatus count create createIndexes createRole createUser currentOp
	dataSize dbHash dbStats delete distinct drop dropDatabase dropIndexes dropRole dropUser endSessions explain find
	findAndModify findandmodify fsync fsyncUnlock getCmdLineOpts getLastError getLog getMore getParameter getlasterror
	getnonce grantRolesToUser hello hostInfo insert isMaster isdbgrid ismaster killAllSessions killCursors killOp
	killSessions listCollections listCommands listDatabases listIndexes listShards logRotate logout mapReduce mapreduce
	moveChunk ping profile reIndex refreshSessions renameCollection replSetFreeze replSetGetConfig replSetGetStatus
	replSetHeartbeat replSetInitiate replSetReconfig replSetRequestVotes replSetStepDown replSetUpdatePosition
	revokeRolesFromUser rolesInfo saslContinue saslStart serverStatus setParameter shardCollection shutdown startSession
	top update updateUser usersInfo validate whatsmyuri`)

func TestNativeMongoTellsEveryCommand(t *testing.T) {
	t.Parallel()
	var talk []say
	var want []string
	for i, command := range mongoCommands {
		talk = append(talk, asks(mongoAsk(uint32(i), 0, command)), answers(mongoFine(1000, uint32(i))))
		want = append(want, fmt.Sprintf("mongo method=0 status=0 ok 0 ns %s", command))
	}
	if got := converse(t, "mongo", talk...); !slices.Equal(got, append(want, "is mongo")) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNativeMongoIsRecognised(t *testing.T) {
	t.Parallel()
	answer := answers(mongoFine(2, 1))
	for name, c := range map[string]struct {
		talk []say
		want bool
	}{
		"by a command":              {[]say{asks(mongoAsk(1, 0, "find")), answer}, true},
		"by the handshake":          {[]say{asks(mongoHello(1, "admin.$cmd", "hello")), answer}, true},
		"by a header alone":         {[]say{asks(mongoAsk(1, 0, "find")[:16]), asks(mongoAsk(1, 0, "find")[16:]), answer}, true},
		"by a reply":                {[]say{answer, asks(mongoAsk(1, 0, "find")), answer}, true},
		"not by another operation":  {[]say{asks(mongoMessage(1, 0, 2014, le32(0), "\x00", bsonDocument()))}, false},
		"not by a long message":     {[]say{asks(le32(1<<30) + mongoAsk(1, 0, "find")[4:])}, false},
		"not by an answering asker": {[]say{asks(mongoFine(2, 1))}, false},
		"not by flags of tomorrow":  {[]say{asks(mongoAsk(1, 1<<5, "find"))}, false},
		"not by a reply's length":   {[]say{answers(mongoMessage(2, 1, mongoMsg, le32(0), "\x00", bsonDocument(), "12"))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", c.talk...)
			if is := got[len(got)-1] == "is mongo"; is != c.want {
				t.Errorf("got %q, want it to be recognised: %v", got, c.want)
			}
			if n := len(got); c.want && got[n-2] == "unmatched mongo lost_framing" {
				t.Errorf("got %q: recognised, but not understood", got)
			}
		})
	}
}

func TestNativeMongoFindsItselfAgain(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"text":                    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"no length":               le32(0) + mongoAsk(1, 0, "find")[4:],
		"a length below a head's": le32(12) + mongoAsk(1, 0, "find")[4:],
		"a length beyond all":     le32(1<<31) + mongoAsk(1, 0, "find")[4:],
		"the greatest length":     le32(1<<32-1) + mongoAsk(1, 0, "find")[4:],
		"flags of tomorrow":       mongoAsk(1, 1<<4, "find"),
		"a section of tomorrow":   mongoMessage(1, 0, mongoMsg, le32(0), "\x02", bsonDocument(bsonInt("find", 1))),
		"a document too long":     mongoMessage(1, 0, mongoMsg, le32(0), "\x00", le32(1<<31), "\x10find\x00", le32(1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "mongo", asks(garbage), answers(mongoFine(9, 1)), asks(mongoAsk(2, 0, "ping")), waits(1), answers(mongoFine(10, 2)))
			want := []string{"unmatched mongo lost_framing", "unmatched mongo no_request", "mongo method=0 status=0 ok 1 ns ping", "is mongo"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestNativeMongoTextLongerThanItsMessage(t *testing.T) {
	t.Parallel()
	broken := mongoAnswer(2, 1, 0, bsonDouble("ok", 0), "\x02errmsg\x00"+le32(1<<31)+"text", bsonInt("code", 26))
	got := converse(t, "mongo", asks(mongoAsk(1, 0, "find")), answers(broken), asks(mongoAsk(3, 0, "ping")), answers(mongoFine(4, 3)))
	want := []string{"mongo method=0 status=0 failed 0 ns find", "mongo method=0 status=0 ok 0 ns ping", "is mongo"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
