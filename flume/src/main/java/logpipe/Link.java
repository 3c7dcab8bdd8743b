package logpipe;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.ToNumberPolicy;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** One link of a partition's chain: what `logpipe/contracts/chain.py` reads, which also says what each field means. */
final class Link {
  static final int FORMAT = 1;
  static final String LINES = "lines";
  static final String MEMORY = "memory";
  static final String EXPIRED = "expired";
  static final String ENDED = "ended";
  private static final Gson GSON = new GsonBuilder()
      .disableHtmlEscaping()
      .setObjectToNumberStrategy(ToNumberPolicy.LONG_OR_DOUBLE) // a double loses offsets from 2**53 on
      .create();

  String kind = LINES;
  String topic;
  String topicId;
  int partition;
  int epoch;
  long first;
  int nextEpoch;
  long next;
  int leaderEpoch = -1;
  String day = "";
  String attempt = "";
  long firstArrivalMs;
  long lastArrivalMs;
  Sums digest = new Sums();
  Sums anonymous = new Sums();
  long repeats;
  long foreign;
  Sums text;
  String reason = "";
  boolean isPartial;
  Map<String, Sums> replays = new TreeMap<>();
  Map<String, Identity.Mark> marks = new TreeMap<>();
  Totals totals = new Totals();

  /** Sums over all links up to this one. */
  static final class Totals {
    long records;
    final Sums digest = new Sums();
    final Sums anonymous = new Sums();
    final Sums memory = new Sums();
    long repeats;
    long foreign;
    long expired;

    void add(Totals other) {
      records += other.records;
      digest.add(other.digest);
      anonymous.add(other.anonymous);
      memory.add(other.memory);
      repeats += other.repeats;
      foreign += other.foreign;
      expired += other.expired;
    }

    /** These sums and those of a range behind them. */
    Totals plus(Link range, long rangeRecords) {
      Totals both = new Totals();
      both.add(this);
      both.records += rangeRecords;
      both.digest.add(range.digest);
      both.anonymous.add(range.anonymous);
      both.repeats += range.repeats;
      both.foreign += range.foreign;
      if (range.kind.equals(MEMORY)) {
        both.memory.add(range.digest);
      }
      return both;
    }
  }

  String name() {
    return name(epoch, first);
  }

  static String name(int epoch, long first) {
    return String.format("%06d-%019d", epoch, first);
  }

  static boolean isName(String text) {
    return text.matches("\\d{6}-\\d{19}");
  }

  byte[] toBytes() {
    Map<String, Object> values = new LinkedHashMap<>();
    values.put("format", FORMAT);
    values.put("kind", kind);
    values.put("topic", topic);
    values.put("topic_id", topicId);
    values.put("partition", partition);
    values.put("epoch", epoch);
    values.put("first", first);
    values.put("next_epoch", nextEpoch);
    values.put("next", next);
    values.put("leader_epoch", leaderEpoch);
    values.put("attempt", attempt);
    values.put("day", day);
    if (kind.equals(LINES) || kind.equals(MEMORY)) {
      values.put("first_arrival_ms", firstArrivalMs);
      values.put("last_arrival_ms", lastArrivalMs);
      values.put("digest", digest.toList());
      values.put("anonymous", anonymous.toList());
      values.put("repeats", repeats);
      values.put("foreign", foreign);
      if (text != null && !text.sameAs(digest)) {
        values.put("text", text.toList());
      }
      Map<String, Object> each = new LinkedHashMap<>();
      replays.forEach((replay, sums) -> each.put(replay, sums.toList()));
      values.put("replays", each);
    }
    if (!reason.isEmpty()) {
      values.put("reason", reason);
    }
    if (isPartial) {
      values.put("is_partial", true);
    }
    Map<String, Object> sums = new LinkedHashMap<>();
    sums.put("records", totals.records);
    sums.put("digest", totals.digest.toList());
    sums.put("anonymous", totals.anonymous.toList());
    sums.put("memory", totals.memory.toList());
    sums.put("repeats", totals.repeats);
    sums.put("foreign", totals.foreign);
    sums.put("expired", totals.expired);
    values.put("totals", sums);
    Map<String, Object> known = new LinkedHashMap<>();
    marks.forEach((replay, mark) -> {
      List<Object> row = new ArrayList<>(List.of(mark.number, mark.lastArrivalMs));
      row.addAll(mark.sums.plus(mark.inRange).toList());
      known.put(replay, row);
    });
    values.put("marks", known);
    return GSON.toJson(values).getBytes(StandardCharsets.UTF_8);
  }

  /**
   * Rebuilds what `toBytes` gave.
   *
   * @throws IOException another version wrote it, or it is no link
   */
  static Link of(byte[] json) throws IOException {
    try {
      Map<?, ?> values = GSON.fromJson(new String(json, StandardCharsets.UTF_8), Map.class);
      if (number(values.get("format")) != FORMAT) {
        throw new IOException("A link has format " + values.get("format") + ", expected " + FORMAT
            + ": another version of agent 2 wrote it; run that one, or give LOGPIPE_HDFS_LOGS_DIR another folder");
      }
      Link link = new Link();
      link.kind = (String) values.get("kind");
      link.topic = (String) values.get("topic");
      link.topicId = (String) values.get("topic_id");
      link.partition = (int) number(values.get("partition"));
      link.epoch = (int) number(values.get("epoch"));
      link.first = number(values.get("first"));
      link.nextEpoch = (int) number(values.get("next_epoch"));
      link.next = number(values.get("next"));
      link.leaderEpoch = (int) number(values.get("leader_epoch"));
      link.attempt = (String) values.get("attempt");
      link.day = values.containsKey("day") ? (String) values.get("day") : "";
      link.lastArrivalMs = values.containsKey("last_arrival_ms") ? number(values.get("last_arrival_ms")) : 0;
      Map<?, ?> sums = (Map<?, ?>) values.get("totals");
      link.totals.records = number(sums.get("records"));
      link.totals.digest.add(Sums.of((List<?>) sums.get("digest"), 0));
      link.totals.anonymous.add(Sums.of((List<?>) sums.get("anonymous"), 0));
      link.totals.memory.add(Sums.of((List<?>) sums.get("memory"), 0));
      link.totals.repeats = number(sums.get("repeats"));
      link.totals.foreign = number(sums.get("foreign"));
      link.totals.expired = number(sums.get("expired"));
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) values.get("marks")).entrySet()) {
        List<?> row = (List<?>) entry.getValue();
        Identity.Mark mark = new Identity.Mark((String) entry.getKey());
        mark.number = number(row.get(0));
        mark.lastArrivalMs = number(row.get(1));
        mark.sums.add(Sums.of(row, 2));
        link.marks.put((String) entry.getKey(), mark);
      }
      return link;
    } catch (ClassCastException | NullPointerException | NumberFormatException | com.google.gson.JsonParseException e) {
      throw new IOException("A link cannot be read: " + new String(json, StandardCharsets.UTF_8), e);
    }
  }

  private static long number(Object value) {
    return ((Number) value).longValue();
  }
}
