package logpipe;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** What a link says comes back as it was said, numbers above 2**53 included. */
class LinkTest {
  @Test
  void whatIsWrittenIsReadAgain() throws IOException {
    Link link = new Link();
    link.topic = "apache_logs";
    link.topicId = "id";
    link.epoch = link.nextEpoch = 3;
    link.first = 1L << 60;
    link.next = (1L << 60) + 1;
    link.leaderEpoch = 7;
    link.day = "26-11-24";
    link.attempt = "0123abcd";
    link.totals.digest.add(5, -1L);
    Identity.Mark mark = new Identity.Mark("r1");
    mark.number = 999_999_999_999_999_999L;
    mark.sums.add(5, Long.MIN_VALUE);
    mark.inRange.add(2, 1);
    link.marks.put("r1", mark);

    Link read = Link.of(link.toBytes());

    assertEquals(link.first, read.first);
    assertEquals(999_999_999_999_999_999L, read.marks.get("r1").number);
    assertEquals(2, read.marks.get("r1").sums.lines);
    assertEquals(Long.MIN_VALUE + 1, read.marks.get("r1").sums.hashSum);
    assertEquals(-1L, read.totals.digest.hashSum);
    assertEquals("000003-1152921504606846976", read.name());
    mark.sums.add(mark.inRange);
    mark.inRange.clear();
    assertArrayEquals(link.toBytes(), read.toBytes());
  }

  @Test
  void whatIsNoLinkIsAnErrorThatShowsIt() {
    for (String text : new String[] {"", "{}", "[]", "nonsense", "{\"format\":1}", "{\"format\":2}"}) {
      assertThrows(IOException.class, () -> Link.of(text.getBytes(StandardCharsets.UTF_8)), text);
    }
  }
}
