package logpipe;

import java.time.ZoneId;
import org.apache.flume.Context;
import org.apache.flume.EventDeliveryException;
import org.apache.flume.conf.Configurable;
import org.apache.flume.conf.ConfigurationException;
import org.apache.flume.instrumentation.SinkCounter;
import org.apache.flume.sink.AbstractSink;

/**
 * Writes a topic's partitions into dated folders on HDFS, each record once: see `docs/decisions/0007`. Its channel is a
 * `TopicChannel`. Keys: `hdfs.path` (folder of the logs), `hdfs.filePrefix`, `hdfs.timeZone`, `hdfs.rollInterval` (s),
 * `hdfs.rollSize` (bytes), `hdfs.flushInterval` (ms), `hdfs.ledgerPath` (folder of the replays' records).
 */
public final class TopicHdfsSink extends AbstractSink implements Configurable {
  private static final long STOP_WAIT_MS = 25_000;

  String root;
  String prefix;
  ZoneId zone;
  long rollMs;
  long rollBytes;
  long flushMs;
  String ledger;
  SinkCounter counter;
  private TopicWriter writer;

  @Override
  public void configure(Context context) {
    root = context.getString("hdfs.path");
    if (root == null || root.contains("%")) {
      throw new ConfigurationException(
          getName() + ": hdfs.path is " + root + ", expected the folder that holds a folder a day, without escapes");
    }
    prefix = context.getString("hdfs.filePrefix", "apache_logs");
    zone = ZoneId.of(context.getString("hdfs.timeZone", "UTC"));
    rollMs = 1000L * context.getInteger("hdfs.rollInterval", 300);
    rollBytes = context.getLong("hdfs.rollSize", 1L << 30);
    flushMs = context.getLong("hdfs.flushInterval", 500L);
    ledger = context.getString("hdfs.ledgerPath", "");
    counter = new SinkCounter(getName());
  }

  @Override
  public synchronized void start() {
    counter.start();
    writer = new TopicWriter(this, (TopicChannel) getChannel());
    writer.start();
    super.start();
  }

  /** The work is done by a thread of our own: Flume interrupts this one at a stop, which breaks an HDFS stream. */
  @Override
  public Status process() throws EventDeliveryException {
    try {
      writer.join(500);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Status.READY;
    }
    if (!writer.isAlive() && !writer.isStopping()) {
      writer = new TopicWriter(this, (TopicChannel) getChannel());
      writer.start();
      throw new EventDeliveryException(getName() + ": the writer ended, another one was started; see its error above");
    }
    return Status.READY;
  }

  @Override
  public synchronized void stop() {
    writer.askToStop();
    try {
      writer.join(STOP_WAIT_MS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    counter.stop();
    super.stop();
  }
}
