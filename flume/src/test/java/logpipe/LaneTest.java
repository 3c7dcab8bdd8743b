package logpipe;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import org.junit.jupiter.api.Test;

class LaneTest {
  @Test
  void aLineEndIsFoundWhereverItStands() {
    Random chance = new Random(20261124);
    for (int run = 0; run < 20_000; run++) {
      byte[] line = new byte[chance.nextInt(40)];
      chance.nextBytes(line);
      boolean expected = false;
      for (byte each : line) {
        expected |= each == '\n';
      }
      assertEquals(expected, Lane.hasLineEnd(line));
    }
  }

  @Test
  void hashesAreThoseOfPythonAndSpark() {
    byte[] line = "uplherc.upl.com - - [01/Aug/1995:00:00:07 -0400] \"GET / HTTP/1.0\" 304 0".getBytes();
    assertEquals(0x98b1582b0977e704L, Sums.hash(new byte[0], 0, 0));
    assertEquals(Long.parseUnsignedLong("96f3495efeb47bf7", 16), Sums.hash(line, 0, line.length));
  }
}
