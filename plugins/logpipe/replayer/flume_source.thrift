// What Flume's Thrift source serves, as far as the replayer uses it.

struct ThriftFlumeEvent {
  1: required map<string, string> headers,
  2: required binary body
}

enum Status {
  OK,
  FAILED,
  ERROR,
  UNKNOWN
}

service ThriftSourceProtocol {
  Status appendBatch(1: list<ThriftFlumeEvent> events)
}
