package logpipe;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * The rule of `logpipe/identity.py`, for one partition: what a record's key says about it. Both are held to
 * `tests/unit/data/identities.tsv`.
 */
final class Identity {
  static final long MAX_JUMP = 10_000_000;

  enum Verdict { NEW, REPEAT, ANONYMOUS, FOREIGN }

  /** What is known of one replay in this partition. */
  static final class Mark {
    final byte[] prefix; // of a key, colon included
    long number;
    long lastArrivalMs;
    final Sums sums = new Sums(); // of all links up to the newest one
    final Sums inRange = new Sums(); // of the range that is being written

    Mark(String replay) {
      prefix = (replay + ":").getBytes(StandardCharsets.US_ASCII);
    }
  }

  private static final int MAX_DIGITS = 18;
  private static final Pattern REPLAY = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._+-]{0,199}");

  final Map<String, Mark> marks;
  /** The mark of the record that was judged last; null when it has no identity. */
  Mark current;
  private Mark last; // records of one replay come in rows

  Identity(Map<String, Mark> marks) {
    this.marks = new HashMap<>(marks);
  }

  /** Says what the next record is, and remembers it. */
  Verdict judge(byte[] key) {
    current = null;
    if (key == null) {
      return Verdict.ANONYMOUS;
    }
    int colon = key.length - 1;
    long number = 0;
    long scale = 1;
    for (; colon >= 0 && key[colon] != ':'; colon--) {
      int digit = key[colon] - '0';
      if (digit < 0 || digit > 9 || key.length - colon > MAX_DIGITS) {
        return Verdict.FOREIGN;
      }
      number += digit * scale;
      scale *= 10;
    }
    if (colon < 1 || colon == key.length - 1 || key[colon + 1] == '0') {
      return Verdict.FOREIGN;
    }
    Mark mark = mark(key, colon + 1);
    if (mark == null) {
      return Verdict.FOREIGN;
    }
    if (number <= mark.number) {
      return Verdict.REPEAT;
    }
    if (number - mark.number > MAX_JUMP) {
      return Verdict.FOREIGN;
    }
    mark.number = number;
    current = mark;
    return Verdict.NEW;
  }

  /** Forgets a replay of which nothing can come any more. */
  void forget(String replay) {
    marks.remove(replay);
    last = null;
  }

  private Mark mark(byte[] key, int length) {
    if (last != null && Arrays.equals(last.prefix, 0, last.prefix.length, key, 0, length)) {
      return last;
    }
    String replay = new String(key, 0, length - 1, StandardCharsets.ISO_8859_1);
    if (!REPLAY.matcher(replay).matches()) {
      return null;
    }
    last = marks.computeIfAbsent(replay, Mark::new);
    return last;
  }
}
