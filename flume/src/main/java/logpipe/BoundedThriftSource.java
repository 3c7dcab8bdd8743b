package logpipe;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import org.apache.flume.ChannelException;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.EventDrivenSource;
import org.apache.flume.FlumeException;
import org.apache.flume.conf.Configurable;
import org.apache.flume.conf.ConfigurationException;
import org.apache.flume.event.EventBuilder;
import org.apache.flume.instrumentation.SourceCounter;
import org.apache.flume.source.AbstractSource;
import org.apache.flume.thrift.Status;
import org.apache.flume.thrift.ThriftFlumeEvent;
import org.apache.flume.thrift.ThriftSourceProtocol;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.server.TThreadedSelectorServer;
import org.apache.thrift.transport.TNonblockingServerSocket;
import org.apache.thrift.transport.TNonblockingSocket;
import org.apache.thrift.transport.TTransportException;
import org.apache.thrift.transport.layered.TFastFramedTransport;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Flume's Thrift source with bounds: what a client announces takes no more memory than what it may send.
 *
 * <p>Flume 1.11's own gives frames 256 MiB, of one connection or of all, and believes a message of a few bytes that
 * says that it holds two billion events. Keys: {@code bind}, {@code port}, {@code threads}.
 */
public final class BoundedThriftSource extends AbstractSource implements Configurable, EventDrivenSource {
  /** A call's lines, or one long line, are a quarter of it. */
  static final int MAX_FRAME_BYTES = 8 << 20;

  private static final int MAX_EVENTS = 100_000; // of a call; the replayer sends 6,000
  private static final int INITIAL_BYTES = 1024;
  private static final long START_MS = 10_000;
  private static final Logger LOG = LoggerFactory.getLogger(BoundedThriftSource.class);

  private String bind;
  private int port;
  private int threads;
  private SourceCounter counter;
  private TThreadedSelectorServer server;
  private Thread serving;

  @Override
  public void configure(Context context) {
    bind = context.getString("bind");
    port = context.getInteger("port", 0);
    threads = context.getInteger("threads", 4);
    if (bind == null || port == 0) {
      throw new ConfigurationException(getName() + " needs bind and port");
    }
    counter = new SourceCounter(getName());
  }

  @Override
  public synchronized void start() {
    try {
      TThreadedSelectorServer.Args args =
          new TThreadedSelectorServer.Args(new Listener(new InetSocketAddress(bind, port))).workerThreads(threads);
      args.maxReadBufferBytes = Math.max(2 * MAX_FRAME_BYTES, Runtime.getRuntime().maxMemory() / 4);
      args.transportFactory(new TFastFramedTransport.Factory(INITIAL_BYTES, MAX_FRAME_BYTES));
      args.protocolFactory(new TBinaryProtocol.Factory(false, true, MAX_FRAME_BYTES, MAX_EVENTS));
      args.processor(new ThriftSourceProtocol.Processor<>(new Handler()));
      server = new TThreadedSelectorServer(args);
    } catch (TTransportException error) {
      throw new FlumeException(getName() + " cannot listen at " + bind + ":" + port, error);
    }
    serving = new Thread(server::serve, getName());
    serving.start();
    await();
    counter.start();
    super.start();
  }

  private void await() {
    long until = System.currentTimeMillis() + START_MS;
    try {
      while (!server.isServing()) {
        if (!serving.isAlive() || System.currentTimeMillis() > until) {
          throw new FlumeException(getName() + " does not serve at " + bind + ":" + port);
        }
        Thread.sleep(10);
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new FlumeException(getName() + " was stopped while it started", error);
    }
  }

  @Override
  public synchronized void stop() {
    if (server != null) {
      server.stop();
      try {
        serving.join(START_MS);
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
      }
    }
    counter.stop();
    super.stop();
  }

  private final class Handler implements ThriftSourceProtocol.Iface {
    @Override
    public Status append(ThriftFlumeEvent event) {
      return appendBatch(List.of(event));
    }

    @Override
    public Status appendBatch(List<ThriftFlumeEvent> events) {
      counter.incrementAppendBatchReceivedCount();
      counter.addToEventReceivedCount(events.size());
      List<Event> batch = new ArrayList<>(events.size());
      for (ThriftFlumeEvent event : events) {
        batch.add(EventBuilder.withBody(event.getBody(), event.getHeaders()));
      }
      try {
        getChannelProcessor().processEventBatch(batch);
      } catch (ChannelException error) {
        LOG.warn("{}: the channel took no batch", getName(), error);
        counter.incrementChannelWriteFail();
        return Status.FAILED;
      }
      counter.incrementAppendBatchAcceptedCount();
      counter.addToEventAcceptedCount(events.size());
      return Status.OK;
    }
  }

  /** Gives connections that end where a frame is announced that is too long. */
  private static final class Listener extends TNonblockingServerSocket {
    Listener(InetSocketAddress address) throws TTransportException {
      super(address);
    }

    @Override
    public TNonblockingSocket accept() throws TTransportException {
      TNonblockingSocket accepted = super.accept();
      try {
        return accepted == null ? null : new Connection(accepted.getSocketChannel());
      } catch (IOException error) {
        throw new TTransportException(error);
      }
    }
  }

  private static final class Connection extends TNonblockingSocket {
    Connection(SocketChannel channel) throws IOException, TTransportException {
      super(channel);
    }

    /** The server reads a frame's length into a buffer of four bytes, and then makes one of that length. */
    @Override
    public int read(ByteBuffer buffer) throws TTransportException {
      int count = super.read(buffer);
      if (buffer.capacity() == Integer.BYTES && !buffer.hasRemaining() && buffer.getInt(0) > MAX_FRAME_BYTES) {
        LOG.warn("{} announced {} bytes, expected at most {}", this, buffer.getInt(0), MAX_FRAME_BYTES);
        return -1;
      }
      return count;
    }
  }
}
