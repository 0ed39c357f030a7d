package bpf

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An sqlTalk is a conversation of an SQL protocol and what it should be counted as.
type sqlTalk struct {
	say  []say
	want []string // without the protocol in front
}

// playSQL plays conversations in calls of few bytes, whole, and in several buffers: they may not be told apart.
func playSQL(t *testing.T, protocol string, talks map[string]sqlTalk) {
	t.Helper()
	for name, k := range talks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ways := map[string][]say{"in three buffers": inThree(k.say)}
			for _, size := range []int{1, 2, 3, 7, 31, 1 << 20} {
				ways[fmt.Sprintf("in pieces of %d bytes", size)] = cut(k.say, size)
			}
			for way, say := range ways {
				if got := sqlWas(protocol, converse(t, protocol, say...)); !slices.Equal(got, k.want) {
					t.Errorf("%s: got\n\t%s\nwant\n\t%s", way, strings.Join(got, "\n\t"), strings.Join(k.want, "\n\t"))
				}
			}
		})
	}
}

// sqlWas leaves out what is the same on each line, and the last one if the protocol is still what it was.
func sqlWas(protocol string, lines []string) []string {
	var all []string
	for _, l := range lines {
		if l != "is "+protocol {
			all = append(all, strings.TrimPrefix(l, protocol+" "))
		}
	}
	return all
}

// inThree gives each call its bytes in three buffers, the first ones of 6 and 11 bytes.
func inThree(conversation []say) []say {
	var all []say
	for _, s := range conversation {
		if text := strings.Join(s.parts, ""); len(text) > 17 {
			s.parts = []string{text[:6], text[6:17], text[17:]}
		} else if text != "" {
			s.parts = []string{text}
		}
		all = append(all, s)
	}
	return all
}

// Messages of the frontend/backend protocol 3.0, PostgreSQL's documentation, "Message Formats".
func pgMessage(tag string, body ...string) string {
	b := strings.Join(body, "")
	return tag + be32(uint32(len(b)+4)) + b
}

func pgStartup(version uint32) string {
	body := be32(version) + "user\x00app\x00database\x00shop\x00\x00"
	return be32(uint32(len(body)+4)) + body
}

func pgQuery(sql string) string { return pgMessage("Q", sql, "\x00") }
func pgParse(name, sql string) string {
	return pgMessage("P", name, "\x00", sql, "\x00", be16(1), be32(23))
}
func pgBind(portal, statement, value string) string {
	return pgMessage("B", portal, "\x00", statement, "\x00", be16(0), be16(1), be32(uint32(len(value))), value, be16(0))
}
func pgDescribe(kind, name string) string { return pgMessage("D", kind, name, "\x00") }
func pgExecute(portal string) string      { return pgMessage("E", portal, "\x00", be32(0)) }

func pgComplete(tag string) string { return pgMessage("C", tag, "\x00") }
func pgError(severity, code string) string {
	return pgMessage("E", "S", severity, "\x00", "VERROR\x00", "C", code, "\x00", "Mrelation \"Customers\" does not exist\x00Fparse_relation.c\x00\x00")
}
func pgRows(n int) string {
	rows := pgMessage("T", be16(1), "id\x00", be32(16385), be16(1), be32(23), be16(4), be32(0xffffffff), be16(0))
	for i := range n {
		rows += pgMessage("D", be16(1), be32(4), be32(uint32(i)))
	}
	return rows
}

const (
	pgSSL           = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	pgGSS           = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	pgSync          = "S\x00\x00\x00\x04"
	pgFlush         = "H\x00\x00\x00\x04"
	pgReady         = "Z\x00\x00\x00\x05I"
	pgParseComplete = "1\x00\x00\x00\x04"
	pgBindComplete  = "2\x00\x00\x00\x04"
	pgNoData        = "n\x00\x00\x00\x04"
	pgEmpty         = "I\x00\x00\x00\x04"
	pgSuspended     = "s\x00\x00\x00\x04"
	pgAuthOK        = "R\x00\x00\x00\x08\x00\x00\x00\x00"
)

// pgPrepared prepares statements s0, s1 and so on.
func pgPrepared(n int) (talk []say) {
	for i := range n {
		talk = append(talk, asks(pgParse(fmt.Sprintf("s%d", i), "DELETE FROM t"), pgSync), answers(pgParseComplete, pgReady))
	}
	return talk
}

var pgSelected = pgRows(1) + pgComplete("SELECT 1")

func TestNativePostgres(t *testing.T) {
	t.Parallel()
	login := []say{asks(pgStartup(3 << 16)), answers(pgMessage("R", be32(5), "salt")), asks(pgMessage("p", "md5c4ca4238a0b923820dcc509a6f75849b\x00")),
		answers(pgAuthOK, pgMessage("S", "server_version\x0015.18\x00"), pgMessage("K", be32(4711), be32(42)), pgReady)}
	playSQL(t, "postgres", map[string]sqlTalk{
		"a login is no operation": {login, nil},
		"a login by SASL to protocol 3.2": {
			[]say{asks(pgStartup(3<<16 | 2)), answers(pgMessage("v", be32(3<<16), be32(0))), answers(pgMessage("R", be32(10), "SCRAM-SHA-256\x00\x00")),
				asks(pgMessage("p", "SCRAM-SHA-256\x00", be32(8), "n,,n=,r=")), answers(pgMessage("R", be32(11), "r=,s=,i=4096")),
				asks(pgMessage("p", "")), answers(pgAuthOK, pgReady)}, nil},
		"a login that is refused is no operation": {
			[]say{asks(pgStartup(3 << 16)), answers(pgError("FATAL", "28P01"))}, nil},
		"a query": {
			[]say{asks(pgQuery("select id from customers where name = 'drop table'")), waits(1000), answers(pgSelected, pgReady)},
			[]string{"method=2 status=0 ok 1000 ns SELECT"}},
		"after a login": {
			append(slices.Clone(login), asks(pgQuery("BEGIN")), waits(5), answers(pgComplete("BEGIN"), pgReady)),
			[]string{"method=2 status=0 ok 5 ns BEGIN"}},
		"a query of several statements is one, called as the first, and takes until the last one's end": {
			[]say{asks(pgQuery("INSERT INTO t VALUES (1); SELECT 1")), waits(10), answers(pgComplete("INSERT 0 1")), waits(20), answers(pgSelected), waits(30), answers(pgReady)},
			[]string{"method=2 status=0 ok 60 ns INSERT"}},
		"an empty query": {
			[]say{asks(pgQuery("")), answers(pgEmpty, pgReady)},
			[]string{"method=2 status=0 ok 0 ns -"}},
		"a query that fails": {
			[]say{asks(pgQuery("SELECT * FROM customers")), waits(7), answers(pgError("ERROR", "42P01"), pgReady), asks(pgQuery("SELECT 1")), waits(3), answers(pgSelected, pgReady)},
			[]string{fmt.Sprintf("method=2 status=%d failed 7 ns SELECT", '4'<<8|'2'), "method=2 status=0 ok 3 ns SELECT"}},
		"a query that ends the connection": {
			[]say{asks(pgQuery("SELECT pg_sleep(1000)")), waits(7), answers(pgError("FATAL", "57P01"))},
			[]string{fmt.Sprintf("method=2 status=%d failed 7 ns SELECT", '5'<<8|'7')}},
		"a query without an answer": {
			[]say{asks(pgQuery("SELECT 1")), waits(7)},
			[]string{"method=2 status=0 closed 7 ns SELECT"}},
		"notices, notifications and parameters come at any time": {
			[]say{answers(pgMessage("A", be32(7), "channel\x00payload\x00")), asks(pgQuery("LISTEN channel")),
				answers(pgMessage("N", "SNOTICE\x00VNOTICE\x00C00000\x00Mhello\x00\x00"), pgComplete("LISTEN")), answers(pgMessage("S", "TimeZone\x00UTC\x00")), waits(1), answers(pgReady),
				answers(pgMessage("A", be32(7), "channel\x00payload\x00"))},
			[]string{"method=2 status=0 ok 1 ns LISTEN"}},
		"an idle connection that the server ends is no operation": {
			[]say{answers(pgError("FATAL", "57P01"))}, nil},
		"the severity in another language": {
			[]say{asks(pgQuery("COMMIT")), answers(pgError("ОШИБКА", "25P02"), pgReady)},
			[]string{fmt.Sprintf("method=2 status=%d failed 0 ns COMMIT", '2'<<8|'5')}},
		"rows in several answers": {
			[]say{asks(pgQuery("TABLE t")), answers(pgRows(100)), waits(1), answers(pgMessage("D", be16(1), be32(5000), strings.Repeat("x", 5000)), pgComplete("SELECT 101"), pgReady)},
			[]string{"method=2 status=0 ok 1 ns TABLE"}},
		"a function call": {
			[]say{asks(pgMessage("F", be32(1598), be16(0), be16(0), be16(1))), waits(9), answers(pgMessage("V", be32(8), "8 bytes."), pgReady)},
			[]string{"method=2 status=0 ok 9 ns -"}},
		"a copy to the server": {
			[]say{asks(pgQuery("COPY t FROM STDIN")), answers(pgMessage("G", "\x00", be16(1), be16(0))), waits(4),
				asks(strings.Repeat(pgMessage("d", "1\n"), 300)), asks(pgMessage("d", ""), pgMessage("c")), waits(6), answers(pgComplete("COPY 300"), pgReady)},
			[]string{"method=2 status=0 ok 10 ns COPY"}},
		"a copy that the client gives up": {
			[]say{asks(pgQuery("COPY t FROM STDIN")), answers(pgMessage("G", "\x00", be16(1), be16(0))),
				asks(pgMessage("f", "no more\x00")), answers(pgError("ERROR", "57014"), pgReady)},
			[]string{fmt.Sprintf("method=2 status=%d failed 0 ns COPY", '5'<<8|'7')}},
		"a copy from the server": {
			[]say{asks(pgQuery("COPY t TO STDOUT")), answers(pgMessage("H", "\x00", be16(1), be16(0)), strings.Repeat(pgMessage("d", "1\n"), 300), pgMessage("c"), pgComplete("COPY 300"), pgReady)},
			[]string{"method=2 status=0 ok 0 ns COPY"}},
		"a request to cancel another connection's query": {
			[]say{asks(be32(16), be32(80877102), be32(4711), be32(42))}, nil},
		"encryption that the server does not have": {
			append([]say{asks(pgGSS), answers("N"), asks(pgSSL), answers("N")}, append(slices.Clone(login), asks(pgQuery("SELECT 1")), answers(pgSelected, pgReady))...),
			[]string{"method=2 status=0 ok 0 ns SELECT"}},
		"encryption that an old server does not know": {
			[]say{asks(pgSSL), answers(pgError("FATAL", "0A000"))}, nil},
		"encryption": {
			[]say{asks(pgSSL), answers("S"), asks("\x16\x03\x01\x02\x00\x01\x00"), answers("\x16\x03\x03\x00\x7a\x02")},
			[]string{"is tls"}},
		"encryption by GSSAPI": {
			[]say{asks(pgGSS), answers("G"), asks("\x00\x00\x02\x34\x60\x82"), answers("\x00\x00\x00\xab\x60")},
			[]string{"is tls"}},
		"replication": {
			[]say{asks(pgQuery("START_REPLICATION SLOT \"s\" LOGICAL 0/0")), answers(pgMessage("W", "\x00", be16(0)))},
			[]string{"method=2 status=0 ok 0 ns -", "is tcp"}},
		"the end of a session": {
			[]say{asks(pgQuery("DISCARD ALL")), answers(pgComplete("DISCARD ALL"), pgReady), asks(pgMessage("X"))},
			[]string{"method=2 status=0 ok 0 ns DISCARD"}},
	})
}

func TestNativePostgresExtended(t *testing.T) {
	t.Parallel()
	undefined := fmt.Sprintf("method=1 status=%d failed 0 ns ", '4'<<8|'2')
	prepared := pgParseComplete + pgMessage("t", be16(1), be32(23)) + pgRows(0) + pgReady
	executed := pgBindComplete + pgSelected
	// The name that pgx gives a statement: its hash.
	digest := "stmtcache_0d5b9e7cd3ad1ea0c3c0e6ba3f7d2c40c3f0e6ba3f7d2c4f"
	playSQL(t, "postgres", map[string]sqlTalk{
		"a statement without a name": {
			[]say{asks(pgParse("", "UPDATE t SET a = $1"), pgBind("", "", "secret"), pgDescribe("P", ""), pgExecute(""), pgSync), waits(12),
				answers(pgParseComplete, pgBindComplete, pgNoData, pgComplete("UPDATE 1"), pgReady)},
			[]string{"method=1 status=0 ok 12 ns UPDATE"}},
		"the last statement without a name is executed again": {
			[]say{asks(pgParse("", "TRUNCATE t"), pgSync), answers(pgParseComplete, pgReady),
				asks(pgBind("", "", ""), pgExecute(""), pgSync), answers(pgBindComplete, pgComplete("TRUNCATE TABLE"), pgReady),
				asks(pgBind("", "", ""), pgExecute(""), pgSync), answers(pgBindComplete, pgComplete("TRUNCATE TABLE"), pgReady)},
			[]string{"method=1 status=0 ok 0 ns TRUNCATE", "method=1 status=0 ok 0 ns TRUNCATE"}},
		"a statement is prepared, and executed by its name": {
			[]say{asks(pgParse(digest, "DELETE FROM t WHERE id = $1"), pgDescribe("S", digest), pgSync), waits(50), answers(prepared),
				asks(pgBind("", digest, "1"), pgDescribe("P", ""), pgExecute(""), pgSync), waits(2), answers(pgBindComplete, pgNoData, pgComplete("DELETE 1"), pgReady),
				asks(pgBind("", digest, "2"), pgDescribe("P", ""), pgExecute(""), pgSync), waits(3), answers(pgBindComplete, pgNoData, pgComplete("DELETE 1"), pgReady)},
			[]string{"method=1 status=0 ok 2 ns DELETE", "method=1 status=0 ok 3 ns DELETE"}},
		"statements are told apart by their names": {
			[]say{asks(pgParse("P0_1", "BEGIN"), pgSync), answers(prepared), asks(pgParse("P0_2", "INSERT INTO t VALUES ($1)"), pgSync), answers(prepared),
				asks(pgParse("P0_3", "END"), pgSync), answers(prepared), asks(pgBind("", "P0_2", "1"), pgExecute(""), pgSync), answers(executed, pgReady),
				asks(pgBind("", "P0_1", "1"), pgExecute(""), pgSync), answers(executed, pgReady), asks(pgBind("", "P0_3", "1"), pgExecute(""), pgSync), answers(executed, pgReady)},
			[]string{"method=1 status=0 ok 0 ns INSERT", "method=1 status=0 ok 0 ns BEGIN", "method=1 status=0 ok 0 ns END"}},
		"of many statements, the last ten are known": {
			append(pgPrepared(14), asks(pgBind("", "s4", "1"), pgExecute(""), pgSync), answers(executed, pgReady), asks(pgBind("", "s3", "1"), pgExecute(""), pgSync), answers(executed, pgReady),
				asks(pgBind("", "s13", "1"), pgExecute(""), pgSync), answers(executed, pgReady)),
			[]string{"method=1 status=0 ok 0 ns DELETE", "method=1 status=0 ok 0 ns -", "method=1 status=0 ok 0 ns DELETE"}},
		"a statement that was prepared before anybody looked has no verb": {
			[]say{asks(pgBind("", "S_1", "1"), pgExecute(""), pgSync), answers(executed, pgReady)},
			[]string{"method=1 status=0 ok 0 ns -"}},
		"a statement whose verb is rarely prepared has none by its name": {
			[]say{asks(pgParse("S_1", "NOTIFY channel"), pgSync), answers(prepared), asks(pgBind("", "S_1", "1"), pgExecute(""), pgSync), answers(executed, pgReady)},
			[]string{"method=1 status=0 ok 0 ns -"}},
		"a large value is part of the operation": {
			[]say{asks(pgParse("", "INSERT INTO t VALUES ($1)"), pgBind("", "", strings.Repeat("x", 3000))[:2000]), waits(100),
				asks(pgBind("", "", strings.Repeat("x", 3000))[2000:], pgExecute(""), pgSync), waits(10), answers(pgParseComplete, pgBindComplete, pgComplete("INSERT 0 1"), pgReady)},
			[]string{"method=1 status=0 ok 110 ns INSERT"}},
		"what is prepared only is no operation": {
			[]say{asks(pgParse("a", "SELECT 1"), pgDescribe("S", "a"), pgSync), answers(prepared), asks(pgMessage("C", "Sa\x00"), pgSync), answers(pgMessage("3"), pgReady)}, nil},
		"what cannot be prepared is a failed operation": {
			[]say{asks(pgParse("a", "SELECT * FROM nothing"), pgDescribe("S", "a"), pgSync), answers(pgError("ERROR", "42P01"), pgReady),
				asks(pgQuery("SELECT 1")), waits(1), answers(pgSelected, pgReady)},
			[]string{undefined + "SELECT", "method=2 status=0 ok 1 ns SELECT"}},
		"what cannot be prepared, and is not synchronised yet": {
			[]say{asks(pgParse("a", "MERGE INTO nothing"), pgDescribe("S", "a"), pgFlush), answers(pgError("ERROR", "42P01")), asks(pgSync), answers(pgReady)},
			[]string{undefined + "MERGE"}},
		"what cannot be parsed fails the operation that it is for": {
			[]say{asks(pgParse("", "SELECT * FROM nothing"), pgBind("", "", "1"), pgDescribe("P", ""), pgExecute(""), pgSync), answers(pgError("ERROR", "42P01"), pgReady)},
			[]string{undefined + "SELECT"}},
		"a commit at the end of a batch fails by itself": {
			[]say{asks(pgParse("", "INSERT INTO t VALUES ($1)"), pgBind("", "", "1"), pgExecute(""), pgSync), answers(pgParseComplete, pgBindComplete, pgComplete("INSERT 0 1"), pgError("ERROR", "23505"), pgReady)},
			[]string{"method=1 status=0 ok 0 ns INSERT", fmt.Sprintf("method=1 status=%d failed 0 ns INSERT", '2'<<8|'3')}},
		"an empty statement": {
			[]say{asks(pgParse("", ""), pgBind("", "", ""), pgExecute(""), pgSync), answers(pgParseComplete, pgBindComplete, pgEmpty, pgReady)},
			[]string{"method=1 status=0 ok 0 ns -"}},
		"each part of a result that is fetched is an operation": {
			[]say{asks(pgParse("", "SELECT 1"), pgBind("C_1", "", ""), pgExecute("C_1"), pgSync), waits(5), answers(pgParseComplete, pgBindComplete, pgRows(2), pgSuspended, pgReady), waits(1000),
				asks(pgExecute("C_1"), pgSync), waits(6), answers(pgRows(1), pgComplete("SELECT 3"), pgReady)},
			[]string{"method=1 status=0 ok 5 ns SELECT", "method=1 status=0 ok 6 ns SELECT"}},
		"a cursor that is fetched before its batch is over": {
			[]say{asks(pgParse("", "SELECT 1"), pgBind("", "", ""), pgDescribe("P", ""), pgFlush), answers(pgParseComplete, pgBindComplete, pgRows(0)), waits(1), asks(pgExecute(""), pgFlush), waits(2), answers(pgRows(1), pgSuspended),
				asks(pgExecute(""), pgFlush), waits(4), answers(pgRows(1), pgSuspended), asks(pgMessage("C", "P\x00"), pgSync), answers(pgMessage("3"), pgReady)},
			[]string{"method=1 status=0 ok 3 ns SELECT", "method=1 status=0 ok 4 ns SELECT"}},
		"what was bound and not executed was cancelled": {
			[]say{asks(pgParse("", "SELECT 1"), pgBind("", "", ""), pgDescribe("P", ""), pgSync), answers(pgParseComplete, pgBindComplete, pgRows(0), pgReady)},
			[]string{"method=1 status=0 cancelled 0 ns SELECT"}},
		"an error cancels the rest of its batch": {
			[]say{asks(pgParse("s", "INSERT INTO t VALUES ($1)"), pgBind("", "s", "1"), pgExecute(""), pgBind("", "s", "1"), pgExecute(""), pgParse("", "SELECT 1"), pgBind("", "", ""), pgExecute(""), pgSync), waits(8),
				answers(pgParseComplete, pgBindComplete, pgComplete("INSERT 0 1"), pgBindComplete, pgError("ERROR", "23505"), pgReady),
				asks(pgBind("", "s", "3"), pgExecute(""), pgSync), waits(1), answers(pgBindComplete, pgComplete("INSERT 0 1"), pgReady)},
			[]string{"method=1 status=0 ok 8 ns INSERT", fmt.Sprintf("method=1 status=%d failed 8 ns INSERT", '2'<<8|'3'), "method=1 status=0 cancelled 8 ns SELECT",
				"method=1 status=0 ok 1 ns INSERT"}},
		"an error cancels what is sent before the client knows": {
			[]say{asks(pgParse("", "SELECT 1"), pgBind("", "", "1"), pgExecute(""), pgFlush), answers(pgError("ERROR", "42P01")),
				asks(pgBind("", "", "1"), pgExecute(""), pgSync), waits(3), answers(pgReady)},
			[]string{undefined + "SELECT", "method=1 status=0 cancelled 3 ns SELECT"}},
		"an error in the first of many batches that are under way": {
			[]say{asks(pgParse("s", "SELECT 1"), pgBind("", "s", "1"), pgExecute(""), pgBind("", "s", "1"), pgExecute(""), pgSync, pgBind("", "s", "1"), pgExecute(""), pgSync, pgParse("u", "UPDATE t SET a = 1"), pgSync, pgBind("", "u", "1"), pgExecute(""), pgSync),
				answers(pgParseComplete, pgError("ERROR", "42P01"), pgReady, executed, pgReady, pgParseComplete, pgReady, executed, pgReady)},
			[]string{undefined + "SELECT", "method=1 status=0 cancelled 0 ns SELECT", "method=1 status=0 ok 0 ns SELECT", "method=1 status=0 ok 0 ns UPDATE"}},
		"a query between batches": {
			[]say{asks(pgParse("", "SELECT 1"), pgBind("", "", ""), pgExecute(""), pgSync, pgQuery("INSERT INTO t VALUES (1); COMMIT"), pgBind("", "", ""), pgExecute(""), pgSync),
				answers(pgParseComplete, executed, pgReady, pgComplete("INSERT 0 1"), pgComplete("COMMIT")), waits(1), answers(pgReady, executed, pgReady)},
			[]string{"method=1 status=0 ok 0 ns SELECT", "method=2 status=0 ok 1 ns INSERT", "method=1 status=0 ok 1 ns SELECT"}},
	})
}

// How many executions a batch has is remembered in four bits, or where these do not suffice, in sixteen more.
func TestNativePostgresErrorInALargeBatch(t *testing.T) {
	t.Parallel()
	insert, inserted := pgBind("", "s", "1")+pgExecute(""), pgBindComplete+pgComplete("INSERT 0 1")
	for _, k := range []struct{ size, good int }{{13, 5}, {14, 5}, {15, 14}, {700, 600}} {
		talk := []say{asks(pgParse("s", "INSERT INTO t VALUES ($1)"), pgSync), answers(pgParseComplete, pgReady)}
		for n := k.size; n > 0; n -= 100 { // not more at once than a call's steps
			talk = append(talk, asks(strings.Repeat(insert, min(n, 100))))
		}
		talk = append(talk, asks(pgSync))
		for n := k.good; n > 0; n -= 100 {
			talk = append(talk, answers(strings.Repeat(inserted, min(n, 100))))
		}
		talk = append(talk, answers(pgError("ERROR", "23505"), pgReady), asks(pgQuery("SELECT 1")), answers(pgSelected, pgReady))
		got := counted(sqlWas("postgres", converse(t, "postgres", talk...)))
		want := map[string]int{"method=1 status=0 ok 0 ns INSERT": k.good, fmt.Sprintf("method=1 status=%d failed 0 ns INSERT", '2'<<8|'3'): 1,
			"method=2 status=0 ok 0 ns SELECT": 1}
		if rest := k.size - k.good - 1; rest > 0 {
			want["method=1 status=0 cancelled 0 ns INSERT"] = rest
		}
		if !maps.Equal(got, want) {
			t.Errorf("of %d: got %v, want %v", k.size, got, want)
		}
	}
}

func counted(lines []string) map[string]int {
	n := map[string]int{}
	for _, l := range lines {
		n[l]++
	}
	return n
}

// With more batches under way than are remembered, counts are still exact as long as nothing fails, and afterwards.
func TestNativePostgresManyBatchesUnderWay(t *testing.T) {
	t.Parallel()
	batch := pgBind("", "s", "1") + pgExecute("") + pgBind("", "s", "2") + pgExecute("") + pgSync
	done := pgBindComplete + pgComplete("INSERT 0 1") + pgBindComplete + pgComplete("INSERT 0 1") + pgReady
	talk := []say{asks(pgParse("s", "INSERT INTO t VALUES ($1)"), pgSync), answers(pgParseComplete, pgReady)}
	for range 3 {
		for range 30 {
			talk = append(talk, asks(batch))
		}
		for range 30 {
			talk = append(talk, answers(done))
		}
	}
	talk = append(talk, asks(batch), answers(pgBindComplete, pgError("ERROR", "23505"), pgReady), asks(batch), answers(done))
	got := counted(sqlWas("postgres", converse(t, "postgres", talk...)))
	want := map[string]int{"method=1 status=0 ok 0 ns INSERT": 182, fmt.Sprintf("method=1 status=%d failed 0 ns INSERT", '2'<<8|'3'): 1,
		"method=1 status=0 cancelled 0 ns INSERT": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNativePostgresIsRecognised(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string][]say{
		"by how a session begins":          {asks(pgStartup(3 << 16)), answers(pgAuthOK)},
		"by a request for encryption":      {asks(pgSSL), answers("N")},
		"by a query":                       {asks(pgQuery("SELECT 1")), answers(pgSelected, pgReady)},
		"by a long query":                  {asks(pgQuery("SELECT 1 -- " + strings.Repeat("x", 9000))), answers(pgSelected, pgReady)},
		"by a long statement with a name":  {asks(pgParse("n", "SELECT 1 -- "+strings.Repeat("x", 9000)), pgSync), answers(pgParseComplete, pgReady)},
		"by a batch":                       {asks(pgBind("", "S_1", "1"), pgDescribe("P", ""), pgExecute(""), pgSync), answers(pgSelected, pgReady)},
		"by the rows of what was before":   {answers(pgRows(2)), asks("?")},
		"by the end of what was before":    {answers(pgComplete("SELECT 1"), pgReady), asks("?")},
		"by a batch whose value is longer": {asks(pgBind("", "S_1", strings.Repeat("x", 100)), pgExecute(""), pgSync), answers(pgBindComplete, pgComplete("UPDATE 1"), pgReady)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", talk...)
			if last := got[len(got)-1]; last != "is postgres" {
				t.Errorf("got %q, want it to be postgres", got)
			}
		})
	}
	for name, first := range map[string]string{
		"commands of others":   "QUIT\r\n",
		"another query":        "P\x00\x00\x00\x02\x00\x00",
		"a length and nothing": "Q\x00\x00\x10\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
		"a small number":       "\x00\x00\x00\x08\x00\x00\x00\x01",
	} {
		t.Run("not by "+name, func(t *testing.T) {
			t.Parallel()
			if got := converse(t, "auto", asks(first)); slices.Contains(got, "is postgres") {
				t.Errorf("got %q for %q, want anything but postgres", got, first)
			}
		})
	}
}

func TestNativePostgresFindsItselfAgain(t *testing.T) {
	t.Parallel()
	playSQL(t, "postgres", map[string]sqlTalk{
		"after garbage": {
			[]say{asks("\xff\xfe\xfd\xfc\xfb\xfa"), answers("\x00\x01\x02\x03\x04\x05"), asks(pgQuery("SELECT 1")), answers(pgSelected, pgReady)},
			[]string{"unmatched postgres lost_framing", "unmatched postgres lost_framing", "method=2 status=0 ok 0 ns SELECT"}},
		"in an answer to what nobody saw": {
			[]say{answers(pgRows(3), pgComplete("SELECT 3"), pgReady), asks(pgQuery("SELECT 1")), waits(2), answers(pgSelected, pgReady)},
			[]string{"unmatched postgres no_request", "method=2 status=0 ok 2 ns SELECT"}},
	})
	// What waits when an answer cannot be read is the core's to give up.
	lost := []say{asks(pgQuery("SELECT 1")), answers(pgRows(1)), answersUnread(100), asks(pgQuery("UPDATE t SET a = 1")), waits(4), answers(pgComplete("UPDATE 1"), pgReady)}
	got := sqlWas("postgres", converse(t, "postgres", lost...))
	if want := "method=2 status=0 ok 4 ns UPDATE"; got[0] != "unmatched postgres lost_framing" || got[len(got)-1] != want {
		t.Errorf("after an answer that cannot be read: got %q, want it to end with %q", got, want)
	}
}

// recorded is what a real server and a real client said to each other.
func recorded(t *testing.T, path string) []say {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var talk []say
	for line := range strings.Lines(string(text)) {
		side, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if side == "#" {
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil || side != ">" && side != "<" {
			t.Fatalf("%s has the line %.40q, want a side and hexadecimal digits: %v", path, line, err)
		}
		talk = append(talk, say{side: side, parts: []string{string(b)}})
	}
	return talk
}

// The client's calls: two statements at once, three executions of a prepared one and one that fails, a statement that
// cannot be prepared, a query, a batch of five executions whose third one fails, a copy, and a transaction that is given up.
func TestNativePostgresRecorded(t *testing.T) {
	t.Parallel()
	ok := func(n int, verb string) []string { return repeat(n, "method=1 status=0 ok 0 ns "+verb) }
	duplicate := fmt.Sprintf("method=1 status=%d failed 0 ns INSERT", '2'<<8|'3')
	playSQL(t, "postgres", map[string]sqlTalk{"pgx": {recorded(t, "native/postgres.rec"), slices.Concat(
		[]string{"method=2 status=0 ok 0 ns CREATE"}, ok(3, "INSERT"), []string{duplicate, fmt.Sprintf("method=1 status=%d failed 0 ns UPDATE", '4'<<8|'2')}, ok(1, "SELECT"),
		ok(2, "INSERT"), []string{duplicate}, repeat(2, "method=1 status=0 cancelled 0 ns INSERT"),
		[]string{"method=2 status=0 ok 0 ns COPY", "method=2 status=0 ok 0 ns BEGIN"}, ok(1, "DELETE"), []string{"method=2 status=0 ok 0 ns ROLLBACK"})}})
}

func repeat(n int, line string) []string { return slices.Repeat([]string{line}, n) }

// The verb of a text is the same for all, so it is tested here.
func TestNativeSQLVerbs(t *testing.T) {
	t.Parallel()
	for _, k := range []struct{ sql, want string }{
		{"select 1", "SELECT"},
		{"SeLeCt*from t", "SELECT"},
		{"select(1)", "SELECT"},
		{"BEGIN;", "BEGIN"},
		{"  \t\r\n;(( select 1))", "SELECT"},
		{"/* a comment */ insert into t values (1)", "INSERT"},
		{"/**/delete from t", "DELETE"},
		{"/***/ /* ** / */update t set a = 1", "UPDATE"},
		{"-- a line\n-- another\nWITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "WITH"},
		{"# a line of MySQL\nreplace into t values (1)", "REPLACE"},
		{"/*!40101 SET NAMES utf8 */", "SET"},
		{"/*!50003 CREATE*/ /*!50017 DEFINER=x*/ TRIGGER", "CREATE"},
		{"/*! */ /*!999999 */ SHOW TABLES", "SHOW"},
		{"/*M!100100 SET @@MAX_STATEMENT_TIME=0 */", "SET"},
		{"/*M*/ /*MM!*/ merge into t", "MERGE"},
		{"/*M/ */ /*m!1 set */ MERGE INTO t", "MERGE"},
		{"/*" + strings.Repeat("-", 508) + "*/", "-"},
		{"/*" + strings.Repeat("-", 504) + "*/show a", "SHOW"},
		{"/*" + strings.Repeat("-", 508) + "*/show a", "-"},
		{"/* without an end", "-"},
		{"/", "-"},
		{"-", "-"},
		{"- 1", "-"},
		{"/ 1", "-"},
		{"'select'", "-"},
		{"\"select\"", "-"},
		{"foo", "-"},
		{"selects 1", "-"},
		{"select_1", "-"},
		{"select1", "-"},
		{"1select", "-"},
		{"sel ect", "-"},
		{"hunter2", "-"},
		{"$1", "-"},
		{"начало", "-"},
		{"averylongwordthatisnoverbofany select", "-"},
		{"", "-"},
	} {
		want := []string{"method=2 status=0 ok 0 ns " + k.want}
		for _, size := range []int{1 << 20, 1, 7, 40} {
			talk := cut([]say{asks(pgQuery(k.sql)), answers(pgComplete("DONE"), pgReady)}, size)
			if got := sqlWas("postgres", converse(t, "postgres", talk...)); !slices.Equal(got, want) {
				t.Errorf("%.60q in pieces of %d bytes: got %q, want %q", k.sql, size, got, want)
			}
		}
	}
}

// The kernel knows verbs by numbers that are written down.
func TestNativeSQLHashes(t *testing.T) {
	t.Parallel()
	header, err := os.ReadFile("include/l7_sql.h")
	if err != nil {
		t.Fatal(err)
	}
	verbs := regexp.MustCompile(`X\(([A-Z]+), 0x([0-9a-f]{8})\)`).FindAllStringSubmatch(string(header), -1)
	if len(verbs) < 80 {
		t.Fatalf("found %d verbs in l7_sql.h, want all of them", len(verbs))
	}
	var talk []say
	var want []string
	for _, v := range verbs {
		if got, _ := strconv.ParseUint(v[2], 16, 32); uint32(got) != wordHash(v[1]) {
			t.Errorf("%s has the hash %#08x, want %#08x", v[1], got, wordHash(v[1]))
		}
		talk = append(talk, asks(pgQuery(strings.ToLower(v[1])+" x")), answers(pgComplete("DONE"), pgReady))
		want = append(want, "method=2 status=0 ok 0 ns "+v[1])
	}
	if got := sqlWas("postgres", converse(t, "postgres", talk...)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// wordHash is l7_word_hash.
func wordHash(word string) uint32 {
	hash := uint64(0)
	for at := 0; at < 24; at += 8 {
		var w uint64
		n := 0
		for ; n < 8 && at+n < len(word); n++ {
			w |= uint64(word[at+n]) << (8 * n)
		}
		hash = (hash ^ w) * 0x9e3779b97f4a7c15
		hash ^= hash >> 32
		if n < 8 {
			break
		}
	}
	return uint32(hash)
}
