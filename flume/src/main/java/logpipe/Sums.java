package logpipe;

import java.util.ArrayList;
import java.util.List;
import net.jpountz.xxhash.XXHash64;
import net.jpountz.xxhash.XXHashFactory;

/** The digest of a multiset of lines: count, bytes without line ends, sum of 64-bit hashes. Adds up, in any order. */
final class Sums {
  private static final XXHash64 HASH = XXHashFactory.fastestJavaInstance().hash64();
  private static final long SEED = 42; // as in logpipe/digest.py and in Spark's xxhash64

  long lines;
  long bytes;
  long hashSum;

  static long hash(byte[] line, int offset, int length) {
    return HASH.hash(line, offset, length, SEED);
  }

  void add(int length, long hash) {
    lines++;
    bytes += length;
    hashSum += hash;
  }

  void add(Sums other) {
    lines += other.lines;
    bytes += other.bytes;
    hashSum += other.hashSum;
  }

  void clear() {
    lines = bytes = hashSum = 0;
  }

  Sums plus(Sums other) {
    Sums both = new Sums();
    both.add(this);
    both.add(other);
    return both;
  }

  boolean isEmpty() {
    return lines == 0;
  }

  boolean sameAs(Sums other) {
    return lines == other.lines && bytes == other.bytes && hashSum == other.hashSum;
  }

  /** Lines, bytes and hash sum in 16 hexadecimal digits, since JSON numbers lose 64-bit integers. */
  List<Object> toList() {
    return new ArrayList<>(List.of(lines, bytes, String.format("%016x", hashSum)));
  }

  /** What `toList` gave, after its way through JSON; reads from an index on. */
  static Sums of(List<?> values, int from) {
    Sums sums = new Sums();
    sums.lines = ((Number) values.get(from)).longValue();
    sums.bytes = ((Number) values.get(from + 1)).longValue();
    sums.hashSum = Long.parseUnsignedLong((String) values.get(from + 2), 16);
    return sums;
  }
}
