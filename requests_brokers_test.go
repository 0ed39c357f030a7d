package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// How much each client is told to do.
const (
	publishedToEach = 100     // messages, on each of three channels
	bigMessage      = 300_000 // bytes: three frames of AMQP, and many calls to read them
	producedInTurn  = 60
	producedAtOnce  = 500
	producedOneWay  = 40
	transactions    = 5
	manyItems       = 250 // of which a hundred come with an answer
)

// brokerServices are brokers and a document store, asked by the clients that programs in Go have for them.
var brokerServices = []realService{
	{
		name: "amqp",
		start: func(t *testing.T, s *realSite) {
			const server = "/usr/lib/rabbitmq/bin/rabbitmq-server"
			owner, err := user.Lookup("rabbitmq")
			if err != nil {
				t.Skip("needs rabbitmq-server: make setup installs it")
			}
			chown(t, s.dir, owner)
			// The server would leave the port mapper of Erlang behind, had it to start one.
			mapper := &realSite{dir: s.dir, port: freePort(t), server: "real-epmd.service"}
			environment := []string{"HOME=" + s.dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + mapper.port}
			mapper.serveAs(t, owner, "env", append(environment, "epmd")...)
			conf := write(t, s.dir+"/rabbitmq.conf", "listeners.tcp.1 = "+s.address()+"\nlog.console = true\nlog.console.level = warning\nlog.file = false\n")
			s.serveAs(t, owner, "env", append(environment, "RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE="+conf, "RABBITMQ_NODENAME=truth@localhost",
				"RABBITMQ_MNESIA_BASE="+s.dir+"/data", "RABBITMQ_LOG_BASE="+s.dir+"/log", "RABBITMQ_ENABLED_PLUGINS_FILE="+s.dir+"/plugins",
				"RABBITMQ_PID_FILE="+s.dir+"/pid", "RABBITMQ_DIST_PORT="+freePort(t),
				"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}", server)...)
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, ourselves(t), "-test.run=^TestAMQPClient$", "amqp-client="+s.address())
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				of := func(operation, more string) string {
					return `messaging_` + side + `_operation_duration_seconds{messaging_system="rabbitmq",messaging_operation_name="` + operation + `"` + more + `}`
				}
				const failed, ok = `,error_type="404"`, `,error_type=""`
				for _, operation := range []string{"connection.start-ok", "connection.open", "connection.close"} {
					n[of(operation, ok)] = 2
				}
				n[of("channel.open", ok)] = 6
				n[of("channel.close", ok)] = 1 // the rest goes with the connections, or is closed by the server
				n[of("exchange.declare", ok)] = 3
				n[of("exchange.declare", `,error_type="406"`)] = 1
				n[of("queue.declare", ok)] = 3
				n[of("queue.declare", failed)] = 1
				for _, operation := range []string{"exchange.bind", "exchange.unbind", "exchange.delete", "queue.unbind", "basic.recover"} {
					n[of(operation, ok)] = 1
				}
				n[of("queue.bind", ok)] = 3
				n[of("queue.purge", ok)] = 1
				n[of("queue.delete", ok)] = 2
				n[of("confirm.select", ok)] = 1
				n[of("basic.publish", ok)] = 3*publishedToEach + 5 + 2 + 4
				n[of("basic.return", `,error_type="312"`)] = 2 // NO_ROUTE
				n[of("basic.get", ok)] = 25
				n[of("basic.qos", ok)] = 1
				n[of("basic.consume", ok)] = 1
				n[of("basic.deliver", ok)] = 2*publishedToEach + 5
				n[of("basic.cancel", ok)] = 1
				n[of("tx.select", ok)] = 1
				n[of("tx.commit", ok)] = 2
				n[of("tx.rollback", ok)] = 1
				n[of("basic.ack", "")] = 0 // passed by design
			}
		},
		check: func(t *testing.T, s *realSite, before, p page) { s.matchesAll(t, "amqp", before, p) },
	},
	{
		name: "kafka",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, ourselves(t), "-test.run=^TestKafkaBroker$", "kafka-broker="+s.address())
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, ourselves(t), "-test.run=^TestKafkaClient$", "kafka-client="+s.address())
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				of := func(operation, more string) string {
					return `messaging_` + side + `_operation_duration_seconds{messaging_system="kafka",messaging_operation_name="` + operation + `"` + more + `}`
				}
				n[of("InitProducerId", "")] = 2
				n[of("EndTxn", `,error_type=""`)] = transactions
				n[of("ListGroups", "")] = 200
				n[of("CreateTopics", "")] = 5
				n[of("DeleteTopics", "")] = 3
				n[of("DescribeConfigs", "")] = 5
				n[of("Heartbeat", `,error_type="25"`)] = 4 // UNKNOWN_MEMBER_ID
				n[of("OffsetCommit", "")] = 10
				n[of("LeaveGroup", `,error_type=""`)] = 1
			}
		},
		within: map[string][2]time.Duration{
			`messaging_server_operation_duration_seconds{messaging_operation_name="DescribeConfigs"}`: {28 * time.Millisecond, time.Second},
			`messaging_client_operation_duration_seconds{messaging_operation_name="DescribeConfigs"}`: {28 * time.Millisecond, time.Second},
		},
		// How many requests more the client has need of is its own affair. The broker has counted all of them.
		check: func(t *testing.T, s *realSite, before, p page) {
			text, err := os.ReadFile(s.dir + "/asked")
			if err != nil {
				t.Fatal(err)
			}
			asked := map[string]float64{}
			for api := range strings.FieldsSeq(string(text)) {
				asked[api]++
			}
			if n := asked["Produce"]; n <= producedInTurn+transactions+producedOneWay {
				t.Errorf("the broker had %v requests to produce", n)
			}
			want := map[string]float64{}
			for api, n := range asked { // which the library spells InitProducerID
				for _, side := range []string{"server", "client"} {
					want[`messaging_`+side+`_operation_duration_seconds{messaging_system="kafka",messaging_operation_name="`+strings.ReplaceAll(api, "ID", "Id")+`"}`] = n
				}
			}
			t.Logf("the broker was asked %v", asked)
			s.comesTo(t, before, want)
			s.matchesAll(t, "kafka", before, p)
		},
	},
	{
		name: "mongodb",
		start: func(t *testing.T, s *realSite) {
			needsProgram(t, "go")
			build := exec.Command("go", "build", "-C", ".ci/tools/mongodb", "-tags", "ferretdb_no_postgresql", "-o", s.dir+"/mongodb", ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build a server of MongoDB's protocol: %v\n%s", err, out)
			}
			if err := os.Mkdir(s.dir+"/data", 0o755); err != nil {
				t.Fatal(err)
			}
			s.serve(t, s.dir+"/mongodb", s.address(), s.dir+"/data")
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, ourselves(t), "-test.run=^TestMongoClient$", "mongo-client="+s.address())
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				of := func(operation, more string) string {
					return `db_` + side + `_operation_duration_seconds{db_system_name="mongodb",db_operation_name="` + operation + `"` + more + `}`
				}
				const ok = `,error_type=""`
				n[of("insert", ok)] = 100 + 1 + 3
				n[of("find", ok)] = 200 + 1 + 3
				n[of("getMore", ok)] = 2
				n[of("update", ok)] = 20
				n[of("delete", ok)] = 3
				n[of("findAndModify", ok)] = 4
				n[of("aggregate", ok)] = 5
				n[of("count", ok)] = 6
				n[of("distinct", ok)] = 7
				n[of("ping", ok)] = 10
				n[of("create", ok)] = 1
				n[of("create", `,error_type="48"`)] = 2      // NamespaceExists
				n[of("dropIndexes", `,error_type="27"`)] = 3 // IndexNotFound
				n[of("drop", ok)] = 1
			}
		},
		// How often the driver greets the server is its own affair, but what one side has asked, the other was.
		check: func(t *testing.T, s *realSite, before, p page) {
			want := map[string]float64{}
			for _, m := range p.matching("db_client_operation_duration_seconds", "unit", s.client) {
				for _, l := range m.Label {
					if l.GetName() == "db_operation_name" {
						want[`db_server_operation_duration_seconds{db_system_name="mongodb",db_operation_name="`+l.GetValue()+`"}`] += float64(m.GetHistogram().GetSampleCount())
					}
				}
			}
			s.comesTo(t, before, want)
			s.matchesAll(t, "mongodb", before, p)
		},
	},
}

// matchesAll complains of messages that made no request. Nobody else on the machine speaks the protocol.
func (s *realSite) matchesAll(t *testing.T, protocol string, before, p page) {
	t.Helper()
	const name = "yagura_l7_unmatched_total"
	if n := p.sum(name, "protocol", protocol) - before.sum(name, "protocol", protocol); n != 0 {
		t.Errorf("%v messages made no request", n)
	}
}

// comesTo waits until the series have grown so much, and says which have not.
func (s *realSite) comesTo(t *testing.T, before page, want map[string]float64) {
	t.Helper()
	grown := func(p page, series string) float64 {
		name, labels := s.series(series)
		return p.sum(name, labels...) - before.sum(name, labels...)
	}
	var wrong map[string]float64
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		p := s.y.scrape(t, "/metrics")
		wrong = maps.Clone(want)
		maps.DeleteFunc(wrong, func(series string, n float64) bool { return grown(p, series) == n })
		if len(wrong) == 0 {
			return
		}
	}
	p := s.y.scrape(t, "/metrics")
	for series, n := range wrong {
		t.Errorf("%s = %v, want %v", series, grown(p, series), n)
	}
}

// TestAMQPClient has two connections to a broker, one that publishes and one that reads, and asks nearly all that the
// protocol can.
func TestAMQPClient(t *testing.T) {
	address := played(t, "amqp-client")
	if address == "" {
		return // nobody asks
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	dial := func() (*amqp.Connection, func() *amqp.Channel) {
		c, err := amqp.Dial("amqp://guest:guest@" + address + "/")
		must(err)
		return c, func() *amqp.Channel {
			ch, err := c.Channel()
			must(err)
			return ch
		}
	}
	conn, open := dial()
	setup := open()
	must(setup.ExchangeDeclare("orders", "topic", false, true, false, false, nil))
	must(setup.ExchangeDeclare("orders", "topic", false, true, false, true, nil)) // wants no answer
	for _, queue := range []string{"read", "fetched", "kept"} {
		_, err := setup.QueueDeclare(queue, false, false, false, queue == "kept", nil)
		must(err)
		must(setup.QueueBind(queue, queue, "orders", false, nil))
	}

	// Three channels publish at once; one of them has each message confirmed.
	published := make(chan error)
	publish := func(ch *amqp.Channel, key string, confirmed bool) {
		for i := range publishedToEach {
			c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "orders", key, false, false, amqp.Publishing{Body: bytes.Repeat([]byte("x"), 10*i)})
			if err == nil && confirmed && !c.Wait() {
				err = errors.New("a message was not taken")
			}
			if err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}
	channels := []*amqp.Channel{open(), open(), open()}
	must(channels[0].Confirm(false))
	go publish(channels[0], "read", true)
	go publish(channels[1], "fetched", false)
	go publish(channels[2], "read", false)
	for range 3 {
		must(<-published)
	}
	for range 5 { // each in several frames
		c, err := channels[0].PublishWithDeferredConfirmWithContext(ctx, "orders", "read", false, false, amqp.Publishing{Body: bytes.Repeat([]byte("0123456789"), bigMessage/10)})
		must(err)
		c.Wait()
	}
	returned := channels[0].NotifyReturn(make(chan amqp.Return, 2))
	for range 2 {
		must(channels[0].PublishWithContext(ctx, "orders", "nowhere", true, false, amqp.Publishing{Body: []byte("lost")}))
		if r := <-returned; r.ReplyCode != amqp.NoRoute {
			t.Errorf("a message to nowhere came back with %d", r.ReplyCode)
		}
	}

	// What the second connection asks for is delivered to it, or got one by one.
	reader, openAnother := dial()
	ch := openAnother()
	must(ch.Qos(50, 0, false))
	deliveries, err := ch.Consume("read", "reader", false, false, false, false, nil)
	must(err)
	for range 2*publishedToEach + 5 {
		d := <-deliveries
		must(d.Ack(false))
	}
	must(ch.Cancel("reader", false))
	got := 0
	for range 20 {
		_, ok, err := ch.Get("fetched", true)
		must(err)
		if ok {
			got++
		}
	}
	for range 5 {
		_, ok, err := ch.Get("kept", true)
		must(err)
		if ok {
			t.Error("a message was where none should be")
		}
	}
	if got == 0 {
		t.Error("there was no message to get")
	}

	must(setup.Tx())
	for i := range 4 {
		must(setup.PublishWithContext(ctx, "orders", "kept", false, false, amqp.Publishing{Body: []byte("maybe")}))
		if i == 1 || i == 3 {
			must(setup.TxCommit())
		}
	}
	must(setup.TxRollback())
	must(ch.Recover(true))
	must(ch.ExchangeDeclare("copies", "fanout", false, true, false, false, nil))
	must(ch.ExchangeBind("copies", "#", "orders", false, nil))
	must(ch.ExchangeUnbind("copies", "#", "orders", false, nil))
	must(ch.ExchangeDelete("copies", false, false))
	must(ch.QueueUnbind("fetched", "fetched", "orders", nil))
	_, err = ch.QueuePurge("fetched", false)
	must(err)
	for _, queue := range []string{"read", "fetched"} {
		_, err = ch.QueueDelete(queue, false, false, queue == "fetched")
		must(err)
	}

	// The server closes a channel to refuse what was asked.
	var refused *amqp.Error
	if _, err := channels[1].QueueDeclarePassive("nowhere", false, false, false, false, nil); !errors.As(err, &refused) || refused.Code != amqp.NotFound {
		t.Errorf("a queue that is not there: %v", err)
	}
	if err := channels[2].ExchangeDeclare("orders", "direct", false, true, false, false, nil); !errors.As(err, &refused) || refused.Code != amqp.PreconditionFailed {
		t.Errorf("another kind of exchange: %v", err)
	}
	openAnother()
	must(ch.Close())
	must(reader.Close())
	must(conn.Close())
}

// TestKafkaBroker is a broker until it is ended, and writes down which requests it had. One kind it delays.
func TestKafkaBroker(t *testing.T) {
	address := played(t, "kafka-broker")
	if address == "" {
		return // nobody asks
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := os.Create("asked")
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "turn", "once", "lost"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fmt.Fprintln(asked, kmsg.NameForKey(r.Key()))
		if r.Key() == int16(kmsg.DescribeConfigs) {
			time.Sleep(30 * time.Millisecond)
		}
		return nil, nil, false
	})
	select {}
}

// TestKafkaClient produces in four ways, is a member of a group that consumes it all, and asks what an administrator does.
func TestKafkaClient(t *testing.T) {
	address := played(t, "kafka-client")
	if address == "" {
		return // nobody asks
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dial := func(opts ...kgo.Opt) *kgo.Client {
		client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(address))...)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	one := func(topic string, size int) *kgo.Record {
		return &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte("x"), size)}
	}

	// One after the other, each with its answer; then as fast as it can, several requests under way at once.
	producer := dial(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerLinger(0))
	for i := range producedInTurn {
		if err := producer.ProduceSync(ctx, one("turn", 1000*i)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produced := make(chan error, producedAtOnce)
	for range producedAtOnce {
		producer.Produce(ctx, one("once", 2000), func(_ *kgo.Record, err error) { produced <- err })
	}
	for range producedAtOnce {
		if err := <-produced; err != nil {
			t.Fatal(err)
		}
	}
	producer.Close()
	keeper := dial(kgo.TransactionalID("keeper"))
	for range transactions {
		if err := keeper.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := keeper.ProduceSync(ctx, one("turn", 100)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := keeper.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	keeper.Close()
	careless := dial(kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite(), kgo.ProducerLinger(0))
	for range producedOneWay {
		if err := careless.ProduceSync(ctx, one("lost", 100)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	consumer := dial(kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("turn", "once", "lost"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var consumed []*kgo.Record
	for len(consumed) < producedInTurn+producedAtOnce+transactions+producedOneWay {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		consumed = append(consumed, fetches.Records()...)
	}
	careless.Close()
	for _, r := range consumed[:10] {
		if err := consumer.CommitRecords(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := consumer.LeaveGroupContext(ctx); err != nil {
		t.Fatal(err)
	}
	consumer.Close()

	admin := dial()
	defer admin.Close()
	if err := admin.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	broker := admin.Broker(0)
	ask := func(r kmsg.Request) kmsg.Response {
		t.Helper()
		answer, err := broker.Request(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	listed := make(chan error)
	for range 10 {
		go func() {
			for range 20 {
				_, err := broker.Request(ctx, kmsg.NewPtrListGroupsRequest())
				listed <- err
			}
		}()
	}
	for range 200 {
		if err := <-listed; err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprint("new-", i), 1, 1
		r := kmsg.NewPtrCreateTopicsRequest()
		r.Topics = append(r.Topics, topic)
		ask(r)
	}
	for i := range 3 {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(fmt.Sprint("new-", i))
		r := kmsg.NewPtrDeleteTopicsRequest()
		r.Topics = append(r.Topics, topic)
		r.TopicNames = append(r.TopicNames, *topic.Topic)
		ask(r)
	}
	for range 5 {
		ask(kmsg.NewPtrDescribeConfigsRequest())
	}
	for range 4 {
		r := kmsg.NewPtrHeartbeatRequest()
		r.Group, r.MemberID = "readers", "nobody"
		ask(r)
	}
}

// TestMongoClient asks a document store, one thing at a time and ten at once. It waits for every answer, as FerretDB
// answers also whoever wants none.
func TestMongoClient(t *testing.T) {
	address := played(t, "mongo-client")
	if address == "" {
		return // nobody asks
	}
	ctx := t.Context() // a time limit would become part of what is asked
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + address + "/?directConnection=true"))
	must(err)
	db := client.Database("shop")
	must(db.CreateCollection(ctx, "items"))
	items := db.Collection("items")
	for i := range 100 {
		_, err := items.InsertOne(ctx, bson.D{{Key: "_id", Value: i}, {Key: "name", Value: fmt.Sprint("secret", i)}})
		must(err)
	}
	many := make([]any, manyItems)
	for i := range many {
		many[i] = bson.D{{Key: "_id", Value: i}, {Key: "text", Value: strings.Repeat("x", 500)}}
	}
	_, err = db.Collection("many").InsertMany(ctx, many)
	must(err)
	for i := range 3 { // a message of many calls, both ways
		big := bson.D{{Key: "_id", Value: i}, {Key: "text", Value: strings.Repeat("0123456789", 200_000)}}
		_, err := db.Collection("big").InsertOne(ctx, big)
		must(err)
		must(db.Collection("big").FindOne(ctx, bson.D{{Key: "_id", Value: i}}).Err())
	}

	found := make(chan error)
	for range 10 {
		go func() {
			for i := range 20 {
				found <- items.FindOne(ctx, bson.D{{Key: "_id", Value: i}}).Err()
			}
		}()
	}
	for range 200 {
		must(<-found)
	}
	cursor, err := db.Collection("many").Find(ctx, bson.D{}, options.Find().SetBatchSize(100))
	must(err)
	var all []bson.D
	must(cursor.All(ctx, &all))
	if len(all) != manyItems {
		t.Errorf("%d items were found, want %d", len(all), manyItems)
	}

	for i := range 20 {
		_, err := items.UpdateOne(ctx, bson.D{{Key: "_id", Value: i}}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "x"}}}})
		must(err)
	}
	for i := range 3 {
		_, err := items.DeleteMany(ctx, bson.D{{Key: "_id", Value: i}})
		must(err)
	}
	for i := range 4 {
		must(items.FindOneAndDelete(ctx, bson.D{{Key: "_id", Value: 10 + i}}).Err())
	}
	for range 5 {
		_, err := items.CountDocuments(ctx, bson.D{})
		must(err)
	}
	for range 6 {
		_, err := items.EstimatedDocumentCount(ctx)
		must(err)
	}
	for range 7 {
		must(items.Distinct(ctx, "name", bson.D{}).Err())
	}
	for range 10 {
		must(client.Ping(ctx, nil))
	}
	refused := func(err error, code int) {
		t.Helper()
		var failed mongo.ServerError
		if !errors.As(err, &failed) || !failed.HasErrorCode(code) {
			t.Errorf("the server says %v, want error %d", err, code)
		}
	}
	for range 2 {
		refused(db.CreateCollection(ctx, "items"), 48)
	}
	for range 3 {
		refused(items.Indexes().DropOne(ctx, "nowhere"), 27)
	}
	must(items.Drop(ctx))
	must(client.Disconnect(ctx))
}
