package logpipe;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The rule is held to the table that Python and Spark are held to. */
class IdentityTest {
  private static final Path TABLE = Path.of("..", "tests", "unit", "data", "identities.tsv");

  @Test
  void judgesEachRowOfTheTableAsItSays() throws IOException {
    Map<String, Identity> partitions = new HashMap<>();
    List<String> rows = Files.readAllLines(TABLE);
    int judged = 0;
    for (String row : rows) {
      if (row.startsWith("#") || row.isEmpty()) {
        continue;
      }
      String[] columns = row.split("\t", -1);
      Identity identity = partitions.computeIfAbsent(columns[0], name -> new Identity(Map.of()));
      byte[] key = columns[1].equals("-") ? null : unescape(columns[1]);
      assertEquals(columns[2], identity.judge(key).name().toLowerCase(), row);
      judged++;
    }
    assertTrue(judged > 30, "the table was read");
  }

  @Test
  void aForgottenReplayBeginsAnew() {
    Identity identity = new Identity(Map.of());
    assertEquals(Identity.Verdict.NEW, identity.judge("r:5".getBytes()));
    identity.forget("r");
    assertEquals(Identity.Verdict.NEW, identity.judge("r:3".getBytes()));
    assertEquals(3, identity.marks.get("r").number);
  }

  private static byte[] unescape(String text) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int at = 0; at < text.length(); at++) {
      if (text.charAt(at) != '\\') {
        bytes.write(text.charAt(at));
      } else if (text.charAt(at + 1) == '\\') {
        bytes.write('\\');
        at++;
      } else {
        bytes.write(Integer.parseInt(text.substring(at + 2, at + 4), 16));
        at += 3;
      }
    }
    return bytes.toByteArray();
  }
}
