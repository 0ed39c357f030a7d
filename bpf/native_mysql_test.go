package bpf

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Packets of the client/server protocol, MySQL's "Client/Server Protocol" and MariaDB's "Client/Server Protocol".
func myPacket(number int, body ...string) string {
	b := strings.Join(body, "")
	return le32(uint32(len(b))|uint32(number)<<24) + b
}

func le16(n uint16) string { return string(binary.LittleEndian.AppendUint16(nil, n)) }

func myQuery(sql string) string   { return myPacket(0, "\x03", sql) }
func myPrepare(sql string) string { return myPacket(0, "\x16", sql) }
func myExecute(id uint32) string {
	return myPacket(0, "\x17", le32(id), "\x00", le32(1), "\x00\x01\x03\x00", le32(42))
}

// Bits of a client's capabilities and of a server's status.
const (
	myClient41          = 0x200
	myClientCompress    = 0x20
	myClientSSL         = 0x800
	myClientOptional    = 0x02000000
	myStatusAutocommit  = 0x2
	myStatusMoreResults = 0x8
	myStatusCursor      = 0x40
)

func myLogin(number int, capabilities uint32) string {
	return myPacket(number, le32(capabilities|myClient41), le32(1<<24), "\x21", strings.Repeat("\x00", 23), "app\x00", "\x14", strings.Repeat("h", 20), "mysql_native_password\x00")
}

func myOK(number int, status uint16) string {
	return myPacket(number, "\x00\x01\x00", le16(status), le16(0))
}

// myDone is the OK that ends a result if both sides know CLIENT_DEPRECATE_EOF.
func myDone(number int, status uint16) string {
	return myPacket(number, "\xfe\x00\x00", le16(status), le16(0))
}
func myEOF(number int, status uint16) string { return myPacket(number, "\xfe", le16(0), le16(status)) }
func myErr(number int, code uint16) string {
	return myPacket(number, "\xff", le16(code), "#42S02Table 'shop.nothing' doesn't exist")
}

func myColumn(number int, name string) string {
	return myPacket(number, "\x03def\x04shop\x01t\x01t", string(rune(len(name))), name, string(rune(len(name))), name, "\x0c\x3f\x00", le32(11), "\x03", le16(0), "\x00\x00\x00")
}

// myRows is a result of so many columns and rows, from a number on; the way it ends is the caller's, who gets its number.
func myRows(number, columns, rows int, eof bool) (string, int) {
	b := myPacket(number, string(rune(columns)))
	for i := range columns {
		number++
		b += myColumn(number, fmt.Sprintf("column%d", i))
	}
	if eof {
		number++
		b += myEOF(number, myStatusAutocommit)
	}
	for i := range rows {
		number++
		b += myPacket(number, strings.Repeat("\x01"+string(rune('0'+i%10)), columns))
	}
	return b, number + 1
}

func myTable(columns, rows int) string {
	b, number := myRows(1, columns, rows, true)
	return b + myEOF(number, myStatusAutocommit)
}

func myTableDone(columns, rows int) string {
	b, number := myRows(1, columns, rows, false)
	return b + myDone(number, myStatusAutocommit)
}

// myPrepared answers COM_STMT_PREPARE.
func myPrepared(id uint32, columns, parameters int, eof bool) string {
	b := myPacket(1, "\x00", le32(id), le16(uint16(columns)), le16(uint16(parameters)), "\x00", le16(0))
	number := 2
	for _, n := range []int{parameters, columns} {
		for range n {
			b += myColumn(number, "?")
			number++
		}
		if eof && n > 0 {
			b += myEOF(number, myStatusAutocommit)
			number++
		}
	}
	return b
}

var myGreeting = myPacket(0, "\x0a5.5.5-10.11.14-MariaDB-0+deb12u2\x00", le32(7), "12345678\x00", "\xfe\xf7\x2d\x02\x00\xff\x81\x15", strings.Repeat("\x00", 6), le32(0x1d), "123456789012\x00mysql_native_password\x00")

// myFile is packets of a file, which are numbered anew after 255.
func myFile(number, packets int) (b string) {
	for i := range packets {
		b += myPacket((number+i)%256, "\x03SELECT 1\n")
	}
	return b
}

func TestNativeMySQL(t *testing.T) {
	t.Parallel()
	ok := myOK(1, myStatusAutocommit)
	login := []say{answers(myGreeting), asks(myLogin(1, 0)), answers(myOK(2, myStatusAutocommit))}
	twoResults, n := myRows(1, 1, 2, true)
	twoResults += myEOF(n, myStatusMoreResults)
	second, n := myRows(n+1, 1, 1, true)
	twoResults += second + myEOF(n, myStatusMoreResults) + myOK(n+1, 0)
	twoDone, n := myRows(1, 1, 0, false)
	twoDone += myDone(n, myStatusMoreResults) + myOK(n+1, 0)
	killed, n := myRows(1, 1, 3, true)
	killed += myErr(n, 1317)
	cursor := myPacket(1, "\x01") + myColumn(2, "a") + myEOF(3, myStatusCursor)
	playSQL(t, "mysql", map[string]sqlTalk{
		"a login is no request": {login, nil},
		"a login by another way than the first one": {
			[]say{answers(myGreeting), asks(myLogin(1, 0)), answers(myPacket(2, "\xfecaching_sha2_password\x00", strings.Repeat("s", 20), "\x00")), asks(myPacket(3, strings.Repeat("x", 32))),
				answers(myPacket(4, "\x01\x04")), asks(myPacket(5, "\x02")), answers(myPacket(6, "\x01-----BEGIN PUBLIC KEY-----")), asks(myPacket(7, strings.Repeat("k", 256))), answers(myOK(8, 2)),
				asks(myQuery("SELECT 1")), waits(3), answers(myTable(1, 1))},
			[]string{"method=3 status=0 ok 3 ns SELECT"}},
		"a login that is refused is no request": {
			[]say{answers(myGreeting), asks(myLogin(1, 0)), answers(myErr(2, 1045))}, nil},
		"a server that has no room is no request": {
			[]say{answers(myErr(0, 1040))}, nil},
		"a login in what was encrypted": {
			[]say{asks(myLogin(2, myClientSSL)), answers(myOK(3, 2)), asks(myQuery("SELECT 1")), answers(myTable(1, 1))},
			[]string{"method=3 status=0 ok 0 ns SELECT"}},
		"encryption": {
			[]say{answers(myGreeting), asks(myPacket(1, le32(myClientSSL|myClient41), le32(1<<24), "\x21", strings.Repeat("\x00", 23))), asks("\x16\x03\x01\x02\x00\x01\x00"), answers("\x16\x03\x03\x00\x7a\x02")},
			[]string{"is tls"}},
		"compression": {
			[]say{answers(myGreeting), asks(myLogin(1, myClientCompress)), answers(myOK(2, 2)), asks("\x05\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0e")},
			[]string{"tcp method=0 status=0 closed 0 ns -", "is tcp"}},
		"a query": {
			append(slices.Clone(login), asks(myQuery("select * from t where name = 'drop'")), waits(1000), answers(myTable(3, 5))),
			[]string{"method=3 status=0 ok 1000 ns SELECT"}},
		"a query whose result ends with an OK": {
			append(slices.Clone(login), asks(myQuery("SELECT * FROM t")), waits(2), answers(myTableDone(3, 5)), asks(myQuery("SELECT * FROM empty")), waits(3), answers(myTableDone(1, 0))),
			[]string{"method=3 status=0 ok 2 ns SELECT", "method=3 status=0 ok 3 ns SELECT"}},
		"an empty result": {
			[]say{asks(myQuery("SELECT * FROM empty")), answers(myTable(2, 0)), asks(myQuery("DO 1")), waits(1), answers(ok)},
			[]string{"method=3 status=0 ok 0 ns SELECT", "method=3 status=0 ok 1 ns DO"}},
		"a query without a result": {
			[]say{asks(myQuery("COMMIT")), waits(4), answers(ok), asks(myQuery("update t set a = 1")), answers(myPacket(1, "\x00\xfc\x10\x27\xfd\x01\x02\x03", le16(2), le16(0), "Rows matched: 10000"))},
			[]string{"method=3 status=0 ok 4 ns COMMIT", "method=3 status=0 ok 0 ns UPDATE"}},
		"a query with no attributes, as MySQL 8 writes them": {
			[]say{asks(myPacket(0, "\x03\x00\x01SELECT 1")), answers(myTable(1, 1))},
			[]string{"method=3 status=0 ok 0 ns SELECT"}},
		"a query with attributes": {
			[]say{asks(myPacket(0, "\x03\x01\x01\x00\x01\xfe\x00\x05trace\x02idSELECT 1")), answers(myTable(1, 1))},
			[]string{"method=3 status=0 ok 0 ns -"}},
		"a query without a text": {
			[]say{asks(myQuery("")), answers(myErr(1, 1065))},
			[]string{"method=3 status=1065 failed 0 ns -"}},
		"a query that fails": {
			[]say{asks(myQuery("SELECT * FROM nothing")), waits(7), answers(myErr(1, 1146)), asks(myQuery("SELECT 1")), answers(myTable(1, 1))},
			[]string{"method=3 status=1146 failed 7 ns SELECT", "method=3 status=0 ok 0 ns SELECT"}},
		"a query that fails among its rows": {
			[]say{asks(myQuery("SELECT SLEEP(1) FROM t")), answers(killed), asks(myQuery("ROLLBACK")), answers(ok)},
			[]string{"method=3 status=1317 failed 0 ns SELECT", "method=3 status=0 ok 0 ns ROLLBACK"}},
		"a query without an answer": {
			[]say{asks(myQuery("SELECT SLEEP(1000)")), waits(7)},
			[]string{"method=3 status=0 closed 7 ns SELECT"}},
		"several results are one request's": {
			[]say{asks(myQuery("CALL two_results()")), waits(1), answers(twoResults[:40]), waits(1), answers(twoResults[40:]), asks(myQuery("CALL another()")), waits(5), answers(twoDone)},
			[]string{"method=3 status=0 ok 2 ns CALL", "method=3 status=0 ok 5 ns CALL"}},
		"the second statement of a query fails": {
			[]say{asks(myQuery("SET a = 1; SELECT * FROM nothing")), answers(myOK(1, myStatusMoreResults), myErr(2, 1146))},
			[]string{"method=3 status=1146 failed 0 ns SET"}},
		"MariaDB tells how far it has come": {
			[]say{asks(myQuery("ALTER TABLE t ADD a INT")), answers(myPacket(1, "\xff\xff\xff\x01\x01\x02\x10\x00\x00\x05stage")), waits(9), answers(myPacket(2, "\xff\xff\xff\x01\x02\x02\x10\x00\x00\x05stage"), myOK(3, 2))},
			[]string{"method=3 status=0 ok 9 ns ALTER"}},
		"more columns than a byte can count": {
			[]say{asks(myQuery("SELECT * FROM wide")), answers(func() string {
				b := myPacket(1, "\xfc", le16(300))
				for i := range 300 {
					b += myColumn(i+2, "a")
				}
				return b + myEOF(302, 2)
			}()), waits(1), answers(myPacket(47, strings.Repeat("\xfb", 300)), myEOF(48, 2))},
			[]string{"method=3 status=0 ok 1 ns SELECT"}},
		"values that begin like an end": {
			[]say{asks(myQuery("SELECT a FROM t")), answers(myPacket(1, "\x01"), myColumn(2, "a"), myEOF(3, 2), myPacket(4, "\xfb"), myPacket(5, "\x00"), myPacket(6, "\xfc\x00\x01", strings.Repeat("\xfe", 256)), myPacket(7, "\x03\xff\xfe\xff"), myEOF(8, 2))},
			[]string{"method=3 status=0 ok 0 ns SELECT"}},
		"a file from the client": {
			[]say{asks(myQuery("LOAD DATA LOCAL INFILE 'a.csv' INTO TABLE t")), answers(myPacket(1, "\xfba.csv")), waits(2), asks(myFile(2, 200)), asks(myFile(202, 200)), asks(myPacket(402 % 256)), waits(3), answers(myOK(403%256, 2)), asks(myQuery("SELECT 1")), answers(myTable(1, 1))},
			[]string{"method=3 status=0 ok 5 ns LOAD", "method=3 status=0 ok 0 ns SELECT"}},
		"commands without SQL": {
			[]say{asks(myPacket(0, "\x0e")), answers(ok), asks(myPacket(0, "\x02shop")), answers(ok), asks(myPacket(0, "\x1f")), answers(ok), asks(myPacket(0, "\x1b\x01\x00")), answers(myEOF(1, 2)),
				asks(myPacket(0, "\x09")), answers(myPacket(1, "Uptime: 1  Threads: 1")), asks(myPacket(0, "\x04t\x00")), answers(myColumn(1, "a"), myColumn(2, "b"), myEOF(3, 2)),
				asks(myPacket(0, "\x04none\x00")), answers(myErr(1, 1146)), asks(myPacket(0, "\x0d")), answers(myEOF(1, 2))},
			[]string{"method=14 status=0 ok 0 ns PING", "method=2 status=0 ok 0 ns INIT_DB", "method=31 status=0 ok 0 ns RESET_CONNECTION", "method=27 status=0 ok 0 ns SET_OPTION",
				"method=9 status=0 ok 0 ns STATISTICS", "method=4 status=0 ok 0 ns FIELD_LIST", "method=4 status=1146 failed 0 ns FIELD_LIST", "method=13 status=0 ok 0 ns DEBUG"}},
		"another user": {
			[]say{asks(myPacket(0, "\x11app\x00\x14", strings.Repeat("h", 20), "shop\x00")), answers(myPacket(1, "\xfemysql_native_password\x00", strings.Repeat("s", 20), "\x00")), asks(myPacket(2, strings.Repeat("h", 20))), waits(1), answers(myOK(3, 2)),
				asks(myPacket(0, "\x11no\x00\x00\x00")), answers(myErr(1, 1045))},
			[]string{"method=17 status=0 ok 1 ns CHANGE_USER", "method=17 status=1045 failed 0 ns CHANGE_USER"}},
		"replication": {
			[]say{asks(myPacket(0, "\x15", le32(2), "\x00\x00\x00", le16(3306), le32(0), le32(0))), answers(ok), asks(myPacket(0, "\x12", le32(4), le16(0), le32(2), "binlog.000001")), answers(myPacket(1, "\x00", le32(0), "\x04", le32(1), le32(30), le32(0), le16(0x20)))},
			[]string{"method=21 status=0 ok 0 ns REGISTER_SLAVE", "is tcp"}},
		"the end of a session": {
			[]say{asks(myQuery("SELECT 1")), answers(myTable(1, 1)), asks(myPacket(0, "\x01"))},
			[]string{"method=3 status=0 ok 0 ns SELECT"}},
	})
	playSQL(t, "mysql", map[string]sqlTalk{
		"a statement is prepared, executed and closed": {
			[]say{asks(myPrepare("INSERT INTO t VALUES (?)")), waits(5), answers(myPrepared(1, 0, 1, true)), asks(myExecute(1)), waits(6), answers(ok), asks(myPacket(0, "\x18", le32(1), le16(0), "a large value")), asks(myExecute(1)), waits(7), answers(ok),
				asks(myPacket(0, "\x1a", le32(1))), answers(ok), asks(myPacket(0, "\x19", le32(1))), asks(myExecute(1)), waits(8), answers(myErr(1, 1243))},
			[]string{"method=22 status=0 ok 5 ns STMT_PREPARE", "method=23 status=0 ok 6 ns INSERT", "method=23 status=0 ok 7 ns INSERT", "method=26 status=0 ok 0 ns STMT_RESET", "method=23 status=1243 failed 8 ns INSERT"}},
		"what is prepared has columns and parameters, with ends of their lists or without": {
			[]say{asks(myPrepare("SELECT a, b FROM t WHERE c = ?")), answers(myPrepared(1, 2, 1, true)), asks(myPrepare("WITH a AS (SELECT 1) SELECT * FROM a")), waits(1), answers(myPrepared(2, 20, 0, true)),
				asks(myPrepare("UPDATE t SET a = ?, b = ?")), waits(2), answers(myPrepared(3, 0, 2, false)), asks(myPrepare("COMMIT")), answers(myPrepared(4, 0, 0, true)),
				asks(myExecute(2)), waits(3), answers(myTable(2, 3)), asks(myExecute(1)), answers(myTableDone(2, 3)), asks(myExecute(4)), answers(ok), asks(myExecute(3)), answers(ok)},
			[]string{"method=22 status=0 ok 0 ns STMT_PREPARE", "method=22 status=0 ok 1 ns STMT_PREPARE", "method=22 status=0 ok 2 ns STMT_PREPARE", "method=22 status=0 ok 0 ns STMT_PREPARE",
				"method=23 status=0 ok 3 ns WITH", "method=23 status=0 ok 0 ns SELECT", "method=23 status=0 ok 0 ns COMMIT", "method=23 status=0 ok 0 ns UPDATE"}},
		"what cannot be prepared": {
			[]say{asks(myPrepare("SELECT * FROM nothing")), answers(myErr(1, 1146)), asks(myPrepare("DELETE FROM t")), answers(myPrepared(1, 0, 0, true)), asks(myExecute(1)), answers(ok)},
			[]string{"method=22 status=1146 failed 0 ns STMT_PREPARE", "method=22 status=0 ok 0 ns STMT_PREPARE", "method=23 status=0 ok 0 ns DELETE"}},
		"a statement that was prepared before anybody looked has no verb": {
			[]say{asks(myExecute(7)), answers(ok)},
			[]string{"method=23 status=0 ok 0 ns -"}},
		"statements whose numbers share a place are not taken for each other": {
			[]say{asks(myPrepare("INSERT INTO t VALUES (1)")), answers(myPrepared(1, 0, 0, true)), asks(myPrepare("DELETE FROM t")), answers(myPrepared(33, 0, 0, true)), asks(myExecute(1)), answers(ok), asks(myExecute(33)), answers(ok)},
			[]string{"method=22 status=0 ok 0 ns STMT_PREPARE", "method=22 status=0 ok 0 ns STMT_PREPARE", "method=23 status=0 ok 0 ns -", "method=23 status=0 ok 0 ns DELETE"}},
		"MariaDB's clients execute what is not prepared yet": {
			[]say{asks(myPrepare("REPLACE INTO t VALUES (?)"), myExecute(0xffffffff)), waits(2), answers(myPrepared(1, 0, 1, false)), waits(3), answers(ok), asks(myExecute(1)), answers(ok),
				asks(myPacket(0, "\xfa", le32(1), le16(0x80), "\x03\x00", "\x00", le32(1), "\x00", le32(2))), answers(ok)},
			[]string{"method=22 status=0 ok 2 ns STMT_PREPARE", "method=23 status=0 ok 5 ns REPLACE", "method=23 status=0 ok 0 ns REPLACE", "method=250 status=0 ok 0 ns REPLACE"}},
		"several statements are prepared before the first is answered": {
			[]say{asks(myPrepare("SELECT 1"), myPrepare("DELETE FROM t"), myPrepare("SET a = 1")), answers(myPrepared(1, 1, 0, true), myPrepared(2, 0, 0, true), myPrepared(3, 0, 0, true)), asks(myExecute(1)), answers(myTable(1, 1)), asks(myExecute(3)), answers(ok), asks(myExecute(2)), answers(ok)},
			[]string{"method=22 status=0 ok 0 ns STMT_PREPARE", "method=22 status=0 ok 0 ns STMT_PREPARE", "method=22 status=0 ok 0 ns STMT_PREPARE", "method=23 status=0 ok 0 ns SELECT", "method=23 status=0 ok 0 ns SET", "method=23 status=0 ok 0 ns DELETE"}},
		"rows that are fetched by a cursor": {
			[]say{asks(myPrepare("SELECT a FROM t")), answers(myPrepared(1, 1, 0, true)), asks(myExecute(1)), waits(1), answers(cursor), asks(myPacket(0, "\x1c", le32(1), le32(2))), waits(2),
				answers(myPacket(1, "\x00\x00\x01\x00\x00\x00"), myPacket(2, "\x00\x00\xfe\xff\xff\xff"), myEOF(3, myStatusCursor)), asks(myPacket(0, "\x1c", le32(1), le32(2))), answers(myEOF(1, 0x80))},
			[]string{"method=22 status=0 ok 0 ns STMT_PREPARE", "method=23 status=0 ok 1 ns SELECT", "method=28 status=0 ok 2 ns STMT_FETCH", "method=28 status=0 ok 0 ns STMT_FETCH"}},
		"MariaDB does not define columns again that have not changed": {
			[]say{asks(myExecute(1)), answers(myPacket(1, "\x02\x01"), myColumn(2, "a"), myColumn(3, "b"), myPacket(4, "\x00\x00\x01a\x01b"), myDone(5, 2)), asks(myExecute(1)), waits(1), answers(myPacket(1, "\x02\x00"), myPacket(2, "\x00\x00\x01a\x01b"), myDone(3, 2)),
				asks(myExecute(1)), waits(2), answers(myPacket(1, "\x02\x00"), myEOF(2, 2), myPacket(3, "\x00\x00\x01a\x01b"), myEOF(4, 2))},
			[]string{"method=23 status=0 ok 0 ns -", "method=23 status=0 ok 1 ns -", "method=23 status=0 ok 2 ns -"}},
		"MySQL does not define columns if it is not asked to": {
			[]say{answers(myGreeting), asks(myLogin(1, myClientOptional)), answers(myOK(2, 2)), asks(myQuery("SELECT a, b FROM t")), answers(myPacket(1, "\x00\x02"), myPacket(2, "\x01a\x01b"), myDone(3, 2)),
				asks(myQuery("SELECT a, b FROM t")), waits(1), answers(myPacket(1, "\x01\x02"), myColumn(2, "a"), myColumn(3, "b"), myPacket(4, "\x01a\x01b"), myDone(5, 2)),
				asks(myPrepare("SELECT a FROM t")), waits(2), answers(myPacket(1, "\x00", le32(1), le16(1), le16(0), "\x00", le16(0), "\x00"))},
			[]string{"method=3 status=0 ok 0 ns SELECT", "method=3 status=0 ok 1 ns SELECT", "method=22 status=0 ok 2 ns STMT_PREPARE"}},
	})
}

// A packet of the greatest length goes on in the next one, whose first bytes mean nothing.
func TestNativeMySQLPacketsThatGoOn(t *testing.T) {
	t.Parallel()
	const long = 1<<24 - 1
	talk := []say{asks(le32(long) + "\x03INSERT INTO t VALUES ('"), asksUnread(long - 24), asks(myPacket(1, "\x03SELECT 1")), waits(5), answers(myOK(2, 2)),
		asks(myQuery("SELECT a FROM t")), answers(myPacket(1, "\x01"), myColumn(2, "a"), myEOF(3, 2)),
		answers(le32(long|4<<24) + "\xfd\x00\x00\x00"), answersUnread(long - 4), answers(myPacket(5, "\xfe\x00\x00\x00\x00"), myPacket(6, "\x011")), waits(1), answers(myEOF(7, 2))}
	want := []string{"method=3 status=0 ok 5 ns INSERT", "method=3 status=0 ok 1 ns SELECT"}
	if got := sqlWas("mysql", converse(t, "mysql", talk...)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Rows of one column and one digit are the shortest; a server writes 16 KiB of them at once.
func TestNativeMySQLManyRowsInOneCall(t *testing.T) {
	t.Parallel()
	talk := []say{asks(myQuery("SELECT a FROM t")), answers(myPacket(1, "\x01"), myColumn(2, "a"), myEOF(3, 2), strings.Repeat(myPacket(4, "\x011"), 2700), myEOF(5, 2))}
	want := []string{"method=3 status=0 ok 0 ns SELECT"}
	if got := sqlWas("mysql", converse(t, "mysql", talk...)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNativeMySQLIsRecognised(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string][]say{
		"by its greeting":         {answers(myGreeting), asks(myLogin(1, 0))},
		"by a login":              {asks(myLogin(2, myClientSSL)), answers(myOK(3, 2))},
		"by a query":              {asks(myQuery("SELECT 1")), answers(myTable(1, 1))},
		"by a query of MySQL 8":   {asks(myPacket(0, "\x03\x00\x01SELECT 1")), answers(myTable(1, 1))},
		"by a prepared statement": {asks(myExecute(7)), answers(myOK(1, 2))},
		"by what is prepared":     {asks(myPrepare("SELECT * FROM t")), answers(myErr(1, 1146))},
		"by a ping":               {asks(myPacket(0, "\x0e")), answers(myOK(1, 2))},
		"by a result, if the server has read the query in pieces": {asks("\x09\x00\x00\x00"), asks("\x03SELECT 1"), answers(myTable(1, 1))},
		"by an OK":    {asks("\x07\x00\x00\x00"), asks("\x03COMMIT"), answers(myOK(1, 2))},
		"by an error": {asks("\x07\x00\x00\x00"), asks("\x03COMMIT"), answers(myErr(1, 1146))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", talk...)
			if last := got[len(got)-1]; last != "is mysql" {
				t.Errorf("got %q, want it to be mysql", got)
			}
		})
	}
	for name, first := range map[string]string{
		"a command that there is not":          "\x05\x00\x00\x00\x44abcd",
		"a text that is none":                  "\x09\x00\x00\x00\x03\x02\x00\x00\x00\x00\x00\x00\x00",
		"a length that is not the call's":      "\x20\x00\x00\x00\x03SELECT 1",
		"a number that is not a command's":     "\x09\x00\x00\x05\x03SELECT 1",
		"the header of a message of MongoDB's": "\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00",
	} {
		t.Run("not by "+name, func(t *testing.T) {
			t.Parallel()
			if got := converse(t, "auto", asks(first)); slices.Contains(got, "is mysql") {
				t.Errorf("got %q for %q, want anything but mysql", got, first)
			}
		})
	}
}

func TestNativeMySQLFindsItselfAgain(t *testing.T) {
	t.Parallel()
	playSQL(t, "mysql", map[string]sqlTalk{
		"after garbage": {
			[]say{asks("\xff\xfe\xfd\x00\xfb\xfa\xf9\xf8"), answers("\x00\x01\x02\x03\x04\x05\x06\x07\x08"), asks(myQuery("SELECT 1")), answers(myTable(1, 1))},
			[]string{"unmatched mysql lost_framing", "unmatched mysql lost_framing", "method=3 status=0 ok 0 ns SELECT"}},
		"in an answer to what nobody saw": {
			[]say{answers(myTable(2, 3)), asks(myQuery("SELECT 1")), waits(2), answers(myTable(1, 1))},
			[]string{"unmatched mysql no_request", "method=3 status=0 ok 2 ns SELECT"}},
	})
	table := myTable(1, 30)
	lost := []say{asks(myQuery("SELECT 1")), answers(table[:60]), answersUnread(100), asks(myQuery("UPDATE t SET a = 1")), waits(4), answers(myOK(1, 2))}
	got := sqlWas("mysql", converse(t, "mysql", lost...))
	if want := "method=3 status=0 ok 4 ns UPDATE"; got[0] != "unmatched mysql lost_framing" || got[len(got)-1] != want {
		t.Errorf("after an answer that cannot be read: got %q, want it to end with %q", got, want)
	}
}

// The client's calls: a statement that is prepared, executed three times, and once more to fail; one that is prepared for a
// single execution; one that cannot be prepared; three statements at once, of which one calls a procedure with two results;
// a file; a transaction that is given up; and a ping.
func TestNativeMySQLRecorded(t *testing.T) {
	t.Parallel()
	query := func(verb string) string { return "method=3 status=0 ok 0 ns " + verb }
	const prepared = "method=22 status=0 ok 0 ns STMT_PREPARE"
	playSQL(t, "mysql", map[string]sqlTalk{"go-sql-driver": {recorded(t, "native/mysql.rec"), slices.Concat(
		[]string{query("CREATE"), prepared}, repeat(3, "method=23 status=0 ok 0 ns INSERT"), []string{"method=23 status=1062 failed 0 ns INSERT", prepared,
			"method=23 status=0 ok 0 ns SELECT", "method=22 status=1146 failed 0 ns STMT_PREPARE", query("SELECT"), query("LOAD"), query("START"), query("UPDATE"), query("ROLLBACK"),
			"method=14 status=0 ok 0 ns PING"})}})
}
