package logpipe;

import java.io.IOException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * One partition: where its chain ends, and the range that is being written behind that end. Knows no consumer; used by
 * one thread.
 */
final class Lane {
  private static final DateTimeFormatter DAY = DateTimeFormatter.ofPattern("yy-MM-dd");
  private static final long HIGH_BITS = 0x8080808080808080L;
  private static final long LOW_BITS = 0x0101010101010101L;
  private static final long LINE_ENDS = 0x0a0a0a0a0a0a0a0aL;
  private static final java.lang.invoke.VarHandle LONG = java.lang.invoke.MethodHandles
      .byteArrayViewVarHandle(long[].class, java.nio.ByteOrder.LITTLE_ENDIAN);

  final int partition;
  final String topic;
  private final ZoneId zone;

  // Where the chain ends: what the newest link says.
  Chain chain;
  String topicId;
  int epoch = 1;
  long next; // the next offset to take; while a range is open, behind what it holds
  int leaderEpoch = -1;
  String day = ""; // of the last range: no later one goes back behind it
  private Link.Totals totals = new Link.Totals();
  private Identity identity = new Identity(Map.of());

  // The range that is open.
  Chain.Draft draft;
  long memoryUntil; // offsets before it were written by profile memory: their link has no file
  long openedAtMs;
  long flushedAtMs;
  boolean isDirty; // holds what is not flushed
  long confirmedNext; // the topic was still the same after these were read
  private Link range; // says what it holds; its marks and totals only once `told` has added them up
  private long records;
  private long dayEndMs;
  private final byte[] buffer = new byte[1 << 18];
  private int filled;

  Lane(int partition, String topic, ZoneId zone) {
    this.partition = partition;
    this.topic = topic;
    this.zone = zone;
  }

  boolean isOpen() {
    return draft != null;
  }

  long rangeBytes() {
    return range.digest.bytes;
  }

  long rangeLines() {
    return range.digest.lines;
  }

  /** Whether the range writes lines, and not only counts those of profile memory. */
  boolean writesLines() {
    return range.kind.equals(Link.LINES);
  }

  /** Goes on behind a link; null: at the very beginning. */
  void goOnBehind(Link link) {
    draft = null;
    memoryUntil = 0;
    if (link == null) {
      epoch = 1;
      next = 0;
      leaderEpoch = -1;
      day = "";
      topicId = null;
      totals = new Link.Totals();
      identity = new Identity(Map.of());
    } else {
      epoch = link.nextEpoch;
      next = link.next;
      leaderEpoch = link.leaderEpoch;
      day = link.day;
      topicId = link.topicId;
      totals = link.totals;
      identity = new Identity(link.marks);
    }
  }

  /** Adds a link without lines: its offsets have expired, or the epoch ends. */
  Chain.Commit append(String emptyKind, int nextEpoch, long nextOffset, String newTopicId, String reason)
      throws IOException {
    Link link = newLink(emptyKind, day);
    link.topicId = newTopicId;
    link.nextEpoch = nextEpoch;
    link.next = nextOffset;
    link.reason = reason;
    link.totals.add(totals);
    link.totals.expired += emptyKind.equals(Link.EXPIRED) ? nextOffset - next : 0;
    link.marks.putAll(known());
    Chain.Commit outcome = chain.commit(chain.begin(link, false), link);
    if (outcome == Chain.Commit.DONE) {
      goOnBehind(link);
    }
    return outcome;
  }

  /** A link that begins where the chain ends. */
  private Link newLink(String kind, String linkDay) {
    Link link = new Link();
    link.kind = kind;
    link.topic = topic;
    link.topicId = topicId;
    link.partition = partition;
    link.epoch = link.nextEpoch = epoch;
    link.first = next;
    link.day = linkDay;
    link.attempt = String.format("%08x", ThreadLocalRandom.current().nextInt());
    return link;
  }

  /** Whether a record of this time belongs into the open range's day; a record never goes back a day. */
  boolean isOfThisDay(long arrivalMs) {
    return arrivalMs < dayEndMs;
  }

  /** Begins a range with the record that is to be its first. */
  void open(ConsumerRecord<byte[], byte[]> record, long nowMs) throws IOException {
    LocalDate date = Instant.ofEpochMilli(record.timestamp()).atZone(zone).toLocalDate();
    if (DAY.format(date).compareTo(day) < 0) {
      date = LocalDate.parse(day, DAY);
    }
    dayEndMs = date.plusDays(1).atStartOfDay(zone).toInstant().toEpochMilli();
    range = newLink(next < memoryUntil ? Link.MEMORY : Link.LINES, DAY.format(date));
    range.firstArrivalMs = range.lastArrivalMs = record.timestamp();
    records = 0;
    filled = 0;
    confirmedNext = next;
    isDirty = false;
    openedAtMs = flushedAtMs = nowMs;
    draft = chain.begin(told(), writesLines());
  }

  /** Takes the record that follows on what the range holds. */
  void add(ConsumerRecord<byte[], byte[]> record) throws IOException {
    byte[] line = record.value() == null ? new byte[0] : record.value();
    Identity.Verdict verdict = identity.judge(record.key());
    next = record.offset() + 1;
    leaderEpoch = record.leaderEpoch().orElse(-1);
    range.lastArrivalMs = record.timestamp();
    isDirty = true;
    records++;
    if (verdict == Identity.Verdict.REPEAT) {
      range.repeats++;
      return;
    }
    long hash = Sums.hash(line, 0, line.length);
    range.digest.add(line.length, hash);
    if (identity.current != null) {
      identity.current.inRange.add(line.length, hash);
      identity.current.lastArrivalMs = record.timestamp();
    } else {
      range.anonymous.add(line.length, hash);
      range.foreign += verdict == Identity.Verdict.FOREIGN ? 1 : 0;
    }
    addText(line, hash);
    if (writesLines()) {
      write(line);
    }
  }

  /** Counts lines as a reader of the file will: a record may hold line ends. */
  private void addText(byte[] line, long hash) {
    Sums text = range.text;
    if (!hasLineEnd(line)) {
      if (text != null) {
        text.add(line.length, hash);
      }
      return;
    }
    if (text == null) {
      text = range.text = range.digest.plus(new Sums());
      text.lines--;
      text.bytes -= line.length;
      text.hashSum -= hash;
    }
    int begin = 0;
    for (int at = 0; at <= line.length; at++) {
      if (at == line.length || line[at] == '\n') {
        text.add(at - begin, Sums.hash(line, begin, at - begin));
        begin = at + 1;
      }
    }
  }

  /** Eight bytes at a time: a byte is zero when its difference from the line end borrows into the high bit. */
  static boolean hasLineEnd(byte[] line) {
    int at = 0;
    for (; at <= line.length - 8; at += 8) {
      long eight = (long) LONG.get(line, at) ^ LINE_ENDS;
      if (((eight - LOW_BITS) & ~eight & HIGH_BITS) != 0) {
        return true;
      }
    }
    for (; at < line.length; at++) {
      if (line[at] == '\n') {
        return true;
      }
    }
    return false;
  }

  private void write(byte[] line) throws IOException {
    if (filled + line.length + 1 > buffer.length) {
      drain();
    }
    if (line.length + 1 > buffer.length) {
      draft.out.write(line);
      draft.out.write('\n');
    } else {
      System.arraycopy(line, 0, buffer, filled, line.length);
      filled += line.length;
      buffer[filled++] = '\n';
    }
  }

  private void drain() throws IOException {
    draft.out.write(buffer, 0, filled);
    filled = 0;
  }

  /** Brings what the range holds to the DataNodes, and says so. */
  void flush(long nowMs) throws IOException {
    if (writesLines()) {
      drain();
      draft.out.hflush();
    }
    FaultPoint.at("flushed");
    chain.tell(draft, told(), false);
    isDirty = false;
    flushedAtMs = nowMs;
  }

  /** Makes the range a link. */
  Chain.Commit finish() throws IOException {
    Link link = told();
    if (writesLines()) {
      drain();
      draft.out.hsync(); // a power cut takes nothing of what is final
    }
    Chain.Commit outcome = chain.commit(draft, link);
    draft = null;
    if (outcome == Chain.Commit.DONE) {
      day = link.day;
      totals = link.totals;
      for (Identity.Mark mark : identity.marks.values()) {
        mark.sums.add(mark.inRange);
        mark.inRange.clear();
      }
    }
    return outcome;
  }

  /** The open range as a link that ends where it now does. */
  private Link told() {
    range.next = next;
    range.leaderEpoch = leaderEpoch;
    range.replays.clear();
    identity.marks.forEach((replay, mark) -> {
      if (!mark.inRange.isEmpty()) {
        range.replays.put(replay, mark.inRange.plus(new Sums()));
      }
    });
    range.marks.clear();
    range.marks.putAll(known());
    range.isPartial = false;
    range.totals = totals.plus(range, records);
    return range;
  }

  /** The marks of replays that sent something; a number that was refused leaves one without. */
  private Map<String, Identity.Mark> known() {
    Map<String, Identity.Mark> known = new TreeMap<>(identity.marks);
    known.values().removeIf(mark -> mark.number == 0);
    return known;
  }

  /** The marks of replays that have been silent since then. */
  Map<String, Identity.Mark> silentSince(long thenMs) {
    Map<String, Identity.Mark> silent = known();
    silent.values().removeIf(mark -> mark.lastArrivalMs >= thenMs || !mark.inRange.isEmpty());
    return silent;
  }

  /** Forgets a replay that is sealed. */
  void forget(String replay) {
    identity.forget(replay);
  }
}
