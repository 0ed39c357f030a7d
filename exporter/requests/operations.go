package requests

import (
	"encoding/binary"
	"strconv"
)

// Operation spells what a request is called, whose text is as it stands on the wire: of Kafka the number of an API, of AMQP
// those of a class and a method, and of other protocols a word already. It is empty for a text that is none of these.
func Operation(protocol, text string) string {
	switch protocol {
	case "kafka":
		return kafkaOperation(text)
	case "amqp":
		return amqpOperation(text)
	}
	return text
}

// kafkaOperations are the names of Kafka's APIs, by their number.
var kafkaOperations = [...]string{
	0:  "Produce",
	1:  "Fetch",
	2:  "ListOffsets",
	3:  "Metadata",
	4:  "LeaderAndIsr",
	5:  "StopReplica",
	6:  "UpdateMetadata",
	7:  "ControlledShutdown",
	8:  "OffsetCommit",
	9:  "OffsetFetch",
	10: "FindCoordinator",
	11: "JoinGroup",
	12: "Heartbeat",
	13: "LeaveGroup",
	14: "SyncGroup",
	15: "DescribeGroups",
	16: "ListGroups",
	17: "SaslHandshake",
	18: "ApiVersions",
	19: "CreateTopics",
	20: "DeleteTopics",
	21: "DeleteRecords",
	22: "InitProducerId",
	23: "OffsetForLeaderEpoch",
	24: "AddPartitionsToTxn",
	25: "AddOffsetsToTxn",
	26: "EndTxn",
	27: "WriteTxnMarkers",
	28: "TxnOffsetCommit",
	29: "DescribeAcls",
	30: "CreateAcls",
	31: "DeleteAcls",
	32: "DescribeConfigs",
	33: "AlterConfigs",
	34: "AlterReplicaLogDirs",
	35: "DescribeLogDirs",
	36: "SaslAuthenticate",
	37: "CreatePartitions",
	38: "CreateDelegationToken",
	39: "RenewDelegationToken",
	40: "ExpireDelegationToken",
	41: "DescribeDelegationToken",
	42: "DeleteGroups",
	43: "ElectLeaders",
	44: "IncrementalAlterConfigs",
	45: "AlterPartitionReassignments",
	46: "ListPartitionReassignments",
	47: "OffsetDelete",
	48: "DescribeClientQuotas",
	49: "AlterClientQuotas",
	50: "DescribeUserScramCredentials",
	51: "AlterUserScramCredentials",
	52: "Vote",
	53: "BeginQuorumEpoch",
	54: "EndQuorumEpoch",
	55: "DescribeQuorum",
	56: "AlterPartition",
	57: "UpdateFeatures",
	58: "Envelope",
	59: "FetchSnapshot",
	60: "DescribeCluster",
	61: "DescribeProducers",
	62: "BrokerRegistration",
	63: "BrokerHeartbeat",
	64: "UnregisterBroker",
	65: "DescribeTransactions",
	66: "ListTransactions",
	67: "AllocateProducerIds",
	68: "ConsumerGroupHeartbeat",
	69: "ConsumerGroupDescribe",
	70: "ControllerRegistration",
	71: "GetTelemetrySubscriptions",
	72: "PushTelemetry",
	73: "AssignReplicasToDirs",
	74: "ListConfigResources",
	75: "DescribeTopicPartitions",
	76: "ShareGroupHeartbeat",
	77: "ShareGroupDescribe",
	78: "ShareFetch",
	79: "ShareAcknowledge",
	80: "AddRaftVoter",
	81: "RemoveRaftVoter",
	82: "UpdateRaftVoter",
	83: "InitializeShareGroupState",
	84: "ReadShareGroupState",
	85: "WriteShareGroupState",
	86: "DeleteShareGroupState",
	87: "ReadShareGroupStateSummary",
	88: "StreamsGroupHeartbeat",
	89: "StreamsGroupDescribe",
	90: "DescribeShareGroupOffsets",
	91: "AlterShareGroupOffsets",
	92: "DeleteShareGroupOffsets",
}

func kafkaOperation(text string) string {
	if len(text) != 2 {
		return ""
	}
	api := int(binary.BigEndian.Uint16([]byte(text)))
	if api < len(kafkaOperations) {
		return kafkaOperations[api]
	}
	return "API " + strconv.Itoa(api)
}

// amqpClasses are the classes of AMQP 0-9-1 and their methods, with those that RabbitMQ has added.
var amqpClasses = map[uint16]struct {
	name    string
	methods map[uint16]string
}{
	10: {"connection", map[uint16]string{10: "start", 11: "start-ok", 20: "secure", 21: "secure-ok", 30: "tune", 31: "tune-ok",
		40: "open", 41: "open-ok", 50: "close", 51: "close-ok", 60: "blocked", 61: "unblocked", 70: "update-secret", 71: "update-secret-ok"}},
	20: {"channel", map[uint16]string{10: "open", 11: "open-ok", 20: "flow", 21: "flow-ok", 40: "close", 41: "close-ok"}},
	40: {"exchange", map[uint16]string{10: "declare", 11: "declare-ok", 20: "delete", 21: "delete-ok", 30: "bind", 31: "bind-ok",
		40: "unbind", 51: "unbind-ok"}},
	50: {"queue", map[uint16]string{10: "declare", 11: "declare-ok", 20: "bind", 21: "bind-ok", 30: "purge", 31: "purge-ok",
		40: "delete", 41: "delete-ok", 50: "unbind", 51: "unbind-ok"}},
	60: {"basic", map[uint16]string{10: "qos", 11: "qos-ok", 20: "consume", 21: "consume-ok", 30: "cancel", 31: "cancel-ok",
		40: "publish", 50: "return", 60: "deliver", 70: "get", 71: "get-ok", 72: "get-empty", 80: "ack", 90: "reject",
		100: "recover-async", 110: "recover", 111: "recover-ok", 120: "nack"}},
	85: {"confirm", map[uint16]string{10: "select", 11: "select-ok"}},
	90: {"tx", map[uint16]string{10: "select", 11: "select-ok", 20: "commit", 21: "commit-ok", 30: "rollback", 31: "rollback-ok"}},
}

func amqpOperation(text string) string {
	if len(text) != 4 {
		return ""
	}
	id := []byte(text)
	number, method := binary.BigEndian.Uint16(id), binary.BigEndian.Uint16(id[2:])
	class := amqpClasses[number]
	if name := class.methods[method]; name != "" {
		return class.name + "." + name
	}
	return strconv.Itoa(int(number)) + "." + strconv.Itoa(int(method))
}
