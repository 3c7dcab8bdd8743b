package logpipe;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Tests only: at a named instant the agent dies or stops. The environment variable LOGPIPE_FAULT holds
 * `instant:halt:3` (at the third time) or `instant:stop:1` (SIGSTOP); without it nothing happens.
 */
final class FaultPoint {
  private static final Logger LOG = LoggerFactory.getLogger(FaultPoint.class);
  private static final String[] FAULT = System.getenv().getOrDefault("LOGPIPE_FAULT", "").split(":");
  private static final AtomicInteger MET = new AtomicInteger();

  private FaultPoint() {}

  static void at(String instant) throws IOException {
    if (FAULT.length != 3 || !FAULT[0].equals(instant) || MET.incrementAndGet() != Integer.parseInt(FAULT[2])) {
      return;
    }
    LOG.warn("met {}: {}", instant, FAULT[1]);
    if (FAULT[1].equals("halt")) {
      Runtime.getRuntime().halt(99);
    }
    try {
      new ProcessBuilder("kill", "-STOP", Long.toString(ProcessHandle.current().pid())).start().waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
