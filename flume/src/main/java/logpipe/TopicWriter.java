package logpipe;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.LogTruncationException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.AuthenticationException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.WakeupException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The sink's thread: reads the partitions that the group gives it, and writes each by a `Lane`. After any error it
 * forgets what it knows and begins again at the newest links.
 */
final class TopicWriter extends Thread implements ConsumerRebalanceListener {
  private static final Logger LOG = LoggerFactory.getLogger(TopicWriter.class);
  private static final Duration POLL = Duration.ofMillis(100);
  private static final Duration POLL_AT_REST = Duration.ofSeconds(1);
  private static final Duration KAFKA_WAIT = Duration.ofSeconds(10);
  private static final long TOPIC_WAIT_S = 5;
  private static final long LONGEST_PAUSE_MS = 5_000;
  private static final long FINISH_LOOK_MS = 1_000;
  private static final long LEDGER_LOOK_MS = 600_000;
  private static final long SILENT_MS = 86_400_000;
  private static final String NO_TOPIC = "";

  private final TopicHdfsSink sink;
  private final TopicChannel channel;
  private final String topic;
  private final KafkaConsumer<byte[], byte[]> consumer;
  private final Admin admin;
  private final Map<TopicPartition, Lane> lanes = new HashMap<>();
  private final Map<TopicPartition, Long> diverged = new HashMap<>(); // where Kafka says that its log is another one
  private volatile boolean stopping;
  private DistributedFileSystem hdfs;
  private long finishMarkMs = -1;
  private long finishLookedMs;
  private long ledgerLookedMs = System.currentTimeMillis();

  TopicWriter(TopicHdfsSink sink, TopicChannel channel) {
    super(sink.getName() + "-writer");
    this.sink = sink;
    this.channel = channel;
    topic = channel.topic();
    consumer = channel.consumer();
    admin = channel.admin();
  }

  boolean isStopping() {
    return stopping;
  }

  void askToStop() {
    stopping = true;
    consumer.wakeup();
  }

  @Override
  public void run() {
    int failures = 0;
    consumer.subscribe(List.of(topic), this);
    try {
      while (!stopping) {
        try {
          if (hdfs == null) {
            hdfs = connect();
          }
          step();
          failures = 0;
        } catch (WakeupException e) {
          LOG.info("asked to stop");
        } catch (OffsetOutOfRangeException e) {
          takeOutOfRange(e);
        } catch (IOException | RuntimeException e) {
          failures++;
          if (e instanceof AuthenticationException) {
            LOG.error("{}", channel.refused(e.getMessage()));
          } else {
            LOG.warn("failure {} in a row: begins again at the newest links", failures, e);
          }
          sink.counter.incrementConnectionFailedCount();
          dropAll();
          Thread.sleep(Math.min(LONGEST_PAUSE_MS, 250L * failures));
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (RuntimeException | Error e) {
      LOG.error("the writer ends", e);
      throw e;
    } finally {
      close();
    }
  }

  private void step() throws IOException {
    for (Map.Entry<TopicPartition, Lane> entry : lanes.entrySet()) {
      if (entry.getValue() == null) {
        entry.setValue(prepare(entry.getKey()));
        consumer.resume(Set.of(entry.getKey()));
      }
    }
    ConsumerRecords<byte[], byte[]> batch = consumer.poll(isAtRest() ? POLL_AT_REST : POLL);
    for (TopicPartition partition : batch.partitions()) {
      append(partition, batch.records(partition));
    }
    tick();
  }

  /** Whether nothing is due before the next record, which ends the wait for it. */
  private boolean isAtRest() {
    return !lanes.isEmpty() && lanes.values().stream().noneMatch(lane -> lane == null || lane.isOpen());
  }

  private DistributedFileSystem connect() throws IOException {
    Configuration conf = new Configuration();
    conf.setBoolean("fs.automatic.close", false); // Hadoop's shutdown hook would race with Flume's
    // A close asks the NameNode before the DataNode has told it of the block, and then waits so long (400 by default).
    conf.setInt("dfs.client.block.write.locateFollowingBlock.initial.delay.ms", 10);
    // A NameNode or DataNode that hangs is an error within half a minute, not after fifteen.
    conf.setInt("ipc.client.connect.timeout", 5_000);
    conf.setInt("ipc.client.connect.max.retries", 3);
    conf.setInt("ipc.client.connect.max.retries.on.timeouts", 2);
    conf.setInt("ipc.client.rpc-timeout.ms", 20_000);
    conf.setInt("dfs.client.socket-timeout", 20_000);
    return (DistributedFileSystem) FileSystem.newInstance(URI.create(sink.root), conf);
  }

  private void close() {
    try {
      for (Map.Entry<TopicPartition, Lane> entry : lanes.entrySet()) {
        finishQuietly(entry.getKey(), entry.getValue());
      }
    } finally {
      lanes.clear();
      consumer.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofSeconds(5)));
      admin.close(Duration.ofSeconds(1));
      try {
        if (hdfs != null) {
          hdfs.close();
        }
      } catch (IOException e) {
        LOG.info("HDFS: {}", e.getMessage());
      }
      LOG.info("the writer has ended");
    }
  }

  // ---------------------------------------------------------------- the group

  @Override
  public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
    LOG.info("assigned {}", partitions);
    for (TopicPartition partition : partitions) {
      lanes.put(partition, null); // made ready before the next poll
      consumer.seek(partition, 0);
    }
    consumer.pause(partitions);
  }

  @Override
  public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
    LOG.info("revoked {}", partitions);
    for (TopicPartition partition : partitions) {
      finishQuietly(partition, lanes.remove(partition));
    }
  }

  @Override
  public void onPartitionsLost(Collection<TopicPartition> partitions) {
    LOG.warn("lost {}: another agent may write them already", partitions);
    for (TopicPartition partition : partitions) {
      Lane lane = lanes.remove(partition);
      if (lane != null && lane.isOpen()) {
        lane.chain.discard(lane.draft);
      }
    }
  }

  /** Hands a partition over with its range final; what cannot be made final is read again by its next writer. */
  private void finishQuietly(TopicPartition partition, Lane lane) {
    if (lane == null) {
      return;
    }
    try {
      if (!lane.isOpen() || finish(partition, lane)) {
        commitNow(partition, lane);
      }
    } catch (IOException | KafkaException e) {
      LOG.warn("{} is left to its next writer: {}", partition, e.toString());
    }
  }

  /** What profile memory's agent 2 would go on from. */
  private void commitNow(TopicPartition partition, Lane lane) {
    Map<TopicPartition, OffsetAndMetadata> place = Map.of(partition, committed(lane));
    try {
      consumer.commitSync(place, Duration.ofSeconds(5));
    } catch (WakeupException e) { // the call to stop, which came while this thread was busy with HDFS
      consumer.commitSync(place, Duration.ofSeconds(5));
    }
  }

  // ---------------------------------------------------------------- the chain's end

  /** Finds where a partition's chain ends, adds what it lacks, and sets the consumer there. */
  private Lane prepare(TopicPartition partition) throws IOException {
    Lane lane = new Lane(partition.partition(), topic, sink.zone);
    lane.chain = new Chain(hdfs, sink.root, sink.prefix, partition.partition());
    Link newest = lane.chain.takeOver();
    if (newest != null && !newest.topic.equals(topic)) {
      throw new IOException("The chain in " + sink.root + " is of topic " + newest.topic + ", not of " + topic
          + ": set LOGPIPE_HDFS_LOGS_DIR to a folder of its own, or LOGPIPE_TOPIC back");
    }
    lane.goOnBehind(newest);
    String id = topicId();
    if (id.isEmpty()) {
      throw new IOException("Topic " + topic + " is not there");
    }
    long begin = consumer.beginningOffsets(Set.of(partition), KAFKA_WAIT).get(partition);
    long end = consumer.endOffsets(Set.of(partition), KAFKA_WAIT).get(partition);
    Long divergedAt = diverged.remove(partition);
    if (lane.topicId == null) {
      lane.topicId = id;
    } else if (!lane.topicId.equals(id)) {
      endEpoch(lane, 0, id, "topic " + topic + " was made anew: id " + lane.topicId + ", now " + id);
    } else {
      long from = divergedAt != null ? divergedAt : lastCommon(lane, partition, begin, end);
      if (from < lane.next) {
        endEpoch(lane, from, id, "the broker lost records: its log is another one from offset " + from
            + " on at the latest, and the chain had reached " + lane.next);
      }
    }
    if (lane.next < begin) {
      LOG.error("{}: Kafka's retention took offsets {} to {} before they were read", partition, lane.next, begin - 1);
      must(lane.append(Link.EXPIRED, lane.epoch, begin, id, ""));
    }
    OffsetAndMetadata committed = consumer.committed(Set.of(partition), KAFKA_WAIT).get(partition);
    // This agent commits with the link's name; what else stands there is of profile memory's, which read so far.
    if (committed != null && !Link.isName(committed.metadata())) {
      lane.memoryUntil = Math.min(committed.offset(), end);
    }
    consumer.seek(partition, new OffsetAndMetadata(
        lane.next, lane.leaderEpoch < 0 ? Optional.empty() : Optional.of(lane.leaderEpoch), ""));
    LOG.info("{}: goes on at {} of epoch {}", partition, lane.next, lane.epoch);
    return lane;
  }

  /**
   * How far broker and chain agree: where the chain ends, unless the record before that is missing or came at another
   * time. A broker that was set back to an earlier state as a whole has no other leader epoch that would tell. Then it is
   * the end of the newest link that agrees: what follows there is read again, and identities tell what is not new.
   */
  private long lastCommon(Lane lane, TopicPartition partition, long begin, long end) throws IOException {
    if (lane.next <= begin) {
      return lane.next; // retention has taken what could be compared
    }
    for (Link link : lane.chain.newestFirst()) {
      if (link.nextEpoch != lane.epoch || link.next <= begin) {
        break;
      }
      boolean isTold = link.kind.equals(Link.LINES) || link.kind.equals(Link.MEMORY);
      if (link.next <= end && (!isTold || arrivedThen(partition, link.next - 1, link.lastArrivalMs))) {
        return link.next;
      }
    }
    return begin;
  }

  /** Whether the record at an offset arrived at that time; of one that is gone nothing can be said against it. */
  private boolean arrivedThen(TopicPartition partition, long offset, long arrivalMs) throws IOException {
    long deadlineMs = System.currentTimeMillis() + KAFKA_WAIT.toMillis();
    try (KafkaConsumer<byte[], byte[]> probe = channel.consumer()) {
      probe.assign(List.of(partition));
      probe.seek(partition, offset);
      while (System.currentTimeMillis() < deadlineMs) {
        for (ConsumerRecord<byte[], byte[]> record : probe.poll(POLL)) {
          return record.offset() != offset || record.timestamp() == arrivalMs;
        }
      }
    }
    throw new IOException(partition + ": the record at offset " + offset + " was not read in time");
  }

  private void endEpoch(Lane lane, long from, String id, String reason) throws IOException {
    LOG.error("Partition {}: a new epoch begins, {}", lane.partition, reason);
    must(lane.append(Link.ENDED, lane.epoch + 1, from, id, reason));
    lane.leaderEpoch = -1;
  }

  private static void must(Chain.Commit outcome) throws IOException {
    if (outcome != Chain.Commit.DONE) {
      throw new IOException("another writer went on meanwhile");
    }
  }

  /** The topic's id now; empty when there is no such topic. */
  private String topicId() throws IOException {
    try {
      return admin.describeTopics(List.of(topic)).topicNameValues().get(topic)
          .get(TOPIC_WAIT_S, TimeUnit.SECONDS).topicId().toString();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof UnknownTopicOrPartitionException) {
        return NO_TOPIC;
      }
      throw new IOException("Kafka does not describe topic " + topic, e.getCause());
    } catch (TimeoutException e) {
      throw new IOException("Kafka does not describe topic " + topic + " within " + TOPIC_WAIT_S + " s", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException(e);
    }
  }

  /** Kafka has not what comes next: what is open becomes final, then the chain says what happened. */
  private void takeOutOfRange(OffsetOutOfRangeException e) {
    LOG.warn("{}", e.getMessage());
    Map<TopicPartition, OffsetAndMetadata> places =
        e instanceof LogTruncationException ? ((LogTruncationException) e).divergentOffsets() : Map.of();
    for (TopicPartition partition : e.partitions()) {
      Lane lane = lanes.get(partition);
      OffsetAndMetadata place = places.get(partition);
      if (place != null) {
        diverged.put(partition, place.offset());
      }
      finishQuietly(partition, lane);
      putAway(partition);
    }
  }

  /** Has a partition prepared anew before the next poll. */
  private void putAway(TopicPartition partition) {
    if (lanes.containsKey(partition)) {
      lanes.put(partition, null);
      consumer.pause(Set.of(partition));
    }
  }

  // ---------------------------------------------------------------- lines

  private void append(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> records) throws IOException {
    Lane lane = lanes.get(partition);
    if (lane == null) {
      return; // put away meanwhile: read again from its chain's end on
    }
    long now = System.currentTimeMillis();
    for (ConsumerRecord<byte[], byte[]> record : records) {
      if (record.offset() < lane.next) {
        continue;
      }
      if (lane.isOpen() && (!lane.isOfThisDay(record.timestamp())
          || !lane.writesLines() && record.offset() >= lane.memoryUntil) && !finish(partition, lane)) {
        return;
      }
      if (!lane.isOpen()) {
        lane.open(record, now);
        sink.counter.incrementConnectionCreatedCount();
      }
      lane.add(record);
    }
    if (lane.isOpen() && !lane.writesLines() && lane.next >= lane.memoryUntil) {
      finish(partition, lane);
    }
    channel.counter().addToEventPutSuccessCount(records.size());
    channel.counter().addToEventTakeSuccessCount(records.size());
    sink.counter.addToEventDrainAttemptCount(records.size());
  }

  private void tick() throws IOException {
    long now = System.currentTimeMillis();
    boolean isAsked = isFinishAsked(now);
    Optional<String> id = null;
    for (Map.Entry<TopicPartition, Lane> entry : Map.copyOf(ready()).entrySet()) {
      Lane lane = entry.getValue();
      boolean isDue = Math.abs(now - lane.openedAtMs) >= sink.rollMs || lane.rangeBytes() >= sink.rollBytes;
      if (isAsked || isDue) {
        finish(entry.getKey(), lane);
      } else if (lane.isDirty && Math.abs(now - lane.flushedAtMs) >= sink.flushMs) {
        lane.flush(now);
        id = id == null ? topicIdIfKnown() : id;
        if (id.isPresent()) {
          confirm(entry.getKey(), lane, id.get());
        }
      }
    }
    forgetSealedReplays(now);
  }

  private Map<TopicPartition, Lane> ready() {
    Map<TopicPartition, Lane> open = new HashMap<>(lanes);
    open.values().removeIf(lane -> lane == null || !lane.isOpen());
    return open;
  }

  /** Takes note that a range was read from the topic that it began in; another topic's records begin an epoch. */
  private void confirm(TopicPartition partition, Lane lane, String id) throws IOException {
    if (id.equals(lane.topicId)) {
      lane.confirmedNext = lane.next;
    } else if (!id.isEmpty()) {
      finish(partition, lane);
      putAway(partition);
    }
  }

  /** A broker that is away does not hold up what is in hand: that is confirmed once it is back. */
  private Optional<String> topicIdIfKnown() {
    try {
      return Optional.of(topicId());
    } catch (IOException e) {
      LOG.info("{}", e.getMessage());
      return Optional.empty();
    }
  }

  /**
   * Makes a range final, provided that all of it was read from the topic that it began in.
   *
   * @return false when it was not: the partition is prepared anew
   */
  private boolean finish(TopicPartition partition, Lane lane) throws IOException {
    if (lane.confirmedNext != lane.next) {
      String id = topicId();
      if (!id.isEmpty() && !id.equals(lane.topicId)) {
        LOG.warn("{}: topic {} was made anew while a range was written: it is read again", partition, topic);
        lane.chain.discard(lane.draft);
        putAway(partition);
        return false;
      }
    }
    long lines = lane.rangeLines();
    if (lane.finish() == Chain.Commit.LOST) {
      putAway(partition);
      return false;
    }
    sink.counter.addToEventDrainSuccessCount(lines);
    sink.counter.incrementConnectionClosedCount();
    consumer.commitAsync(Map.of(partition, committed(lane)), null); // a hint: the chain has the truth
    return true;
  }

  private static OffsetAndMetadata committed(Lane lane) {
    return new OffsetAndMetadata(lane.next, Link.name(lane.epoch, lane.next));
  }

  /** Whether somebody made `_chain/_finish` anew since the last look. */
  private boolean isFinishAsked(long now) throws IOException {
    if (Math.abs(now - finishLookedMs) < FINISH_LOOK_MS || ready().isEmpty() && finishMarkMs >= 0) {
      return false;
    }
    finishLookedMs = now;
    long mark;
    try {
      mark = hdfs.getFileStatus(new Path(sink.root + "/_chain/_finish")).getModificationTime();
    } catch (FileNotFoundException e) {
      mark = 0;
    }
    boolean isNew = finishMarkMs >= 0 && mark != finishMarkMs;
    finishMarkMs = mark;
    return isNew;
  }

  /** Drops the marks of replays that can send nothing any more, or the links would grow for ever. */
  private void forgetSealedReplays(long now) throws IOException {
    if (sink.ledger.isEmpty() || Math.abs(now - ledgerLookedMs) < LEDGER_LOOK_MS) {
      return;
    }
    ledgerLookedMs = now;
    for (Lane lane : lanes.values()) {
      if (lane == null) {
        continue;
      }
      for (String replay : lane.silentSince(now - SILENT_MS).keySet()) {
        if (!isHeldByLedger(lane.chain, replay)) {
          lane.forget(replay);
        }
      }
    }
  }

  private boolean isHeldByLedger(Chain chain, String replay) throws IOException {
    try {
      String record = new String(
          chain.readWhole(new Path(sink.ledger + "/replays/" + replay + ".json")), StandardCharsets.UTF_8);
      Map<?, ?> values = new com.google.gson.Gson().fromJson(record, Map.class);
      return values.get("sealed_at") == null;
    } catch (FileNotFoundException e) {
      return false;
    }
  }

  /** Gives up every open range: the chain's end is where it was. */
  private void dropAll() {
    try {
      if (hdfs != null) {
        hdfs.getClient().closeAllFilesBeingWritten(true);
      }
    } catch (RuntimeException e) {
      LOG.warn("while giving up open files", e);
    }
    lanes.keySet().retainAll(consumer.assignment());
    for (TopicPartition partition : Set.copyOf(lanes.keySet())) {
      putAway(partition);
    }
  }
}
