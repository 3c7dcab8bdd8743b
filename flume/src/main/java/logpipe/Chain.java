package logpipe;

import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileAlreadyExistsException;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.XAttrSetFlag;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The links of one partition on HDFS, and the files of lines that they speak of. `docs/decisions/0007` tells what is
 * atomic, and why nobody can come second.
 */
final class Chain {
  private static final Logger LOG = LoggerFactory.getLogger(Chain.class);
  private static final String LINK = "user.logpipe.link";
  private static final String FLOOR = "user.logpipe.floor";
  private static final String NO_DAY = "00-00-00";
  /** An attribute's name and value hold 16,384 bytes; what is longer stands in a file beside the link. */
  private static final int ATTRIBUTE_BYTES = 12 << 10;
  private static final Pattern OPEN_NAME =
      Pattern.compile("_open-(\\d{6})-(\\d{19})-(\\d\\d-\\d\\d-\\d\\d)-([0-9a-f]{8})");
  private static final Pattern SIDE = Pattern.compile("\\{\"side\":\"([^\"/]+)\"\\}");

  private final DistributedFileSystem hdfs;
  private final Path logs;
  private final Path folder;
  private final String prefix;
  private final int partition;

  Chain(DistributedFileSystem hdfs, String root, String prefix, int partition) {
    this.hdfs = hdfs;
    this.logs = new Path(root);
    this.folder = new Path(root + "/_chain/" + partition);
    this.prefix = prefix;
    this.partition = partition;
  }

  /** A link that is being made, with the file of its lines if it has one. */
  final class Draft {
    final Path open;
    final Path target;
    final Path inUse;
    final Path lines;
    FSDataOutputStream out;

    private Draft(Link link, boolean withLines) {
      String day = link.day.isEmpty() ? NO_DAY : link.day;
      open = new Path(folder, "_open-" + link.name() + "-" + day + "-" + link.attempt);
      target = new Path(folder, link.name());
      inUse = withLines ? inUse(link.epoch, link.first, day, link.attempt) : null;
      lines = withLines ? lines(link.epoch, link.first, day) : null;
    }
  }

  private Path inUse(int epoch, long first, String day, String attempt) {
    String name = String.format("_%s-%d-%d-%019d.%s.tmp", prefix, partition, epoch, first, attempt);
    return new Path(new Path(logs, day), name);
  }

  private Path lines(int epoch, long first, String day) {
    return new Path(new Path(logs, day), String.format("%s-%d-%d-%019d.log", prefix, partition, epoch, first));
  }

  /**
   * Deletes what a writer before this one left open, brings the newest link's lines under their final name, and
   * returns that link; null where there is none.
   */
  Link takeOver() throws IOException {
    hdfs.mkdirs(folder);
    String newest = "";
    FileStatus[] entries = hdfs.listStatus(folder);
    for (FileStatus entry : entries) {
      String name = entry.getPath().getName();
      if (Link.isName(name) && name.compareTo(newest) > 0) {
        newest = name;
      }
    }
    Link link = newest.isEmpty() ? null : read(new Path(folder, newest));
    for (FileStatus entry : entries) {
      Matcher name = OPEN_NAME.matcher(entry.getPath().getName());
      if (name.matches()) {
        LOG.info("partition {}: deletes what was left open, {}", partition, entry.getPath().getName());
        // First the open link: whoever holds it can commit nothing from then on. If it is gone it may have become one.
        if (!hdfs.delete(entry.getPath(), false)) {
          throw new IOException("Partition " + partition + ": another writer went on meanwhile, " + name.group());
        }
        hdfs.delete(
            inUse(Integer.parseInt(name.group(1)), Long.parseLong(name.group(2)), name.group(3), name.group(4)), false);
      }
    }
    if (link != null && link.kind.equals(Link.LINES)) {
      publish(inUse(link.epoch, link.first, link.day, link.attempt), lines(link.epoch, link.first, link.day));
    }
    return link;
  }

  /** The links that are kept, the newest first; each is read when it is asked for. */
  Iterable<Link> newestFirst() throws IOException {
    List<Path> links = new ArrayList<>();
    for (FileStatus entry : hdfs.listStatus(folder)) {
      if (Link.isName(entry.getPath().getName())) {
        links.add(entry.getPath());
      }
    }
    links.sort(Comparator.comparing(Path::getName).reversed());
    return () -> links.stream().map(link -> {
      try {
        return read(link);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }).iterator();
  }

  private Link read(Path link) throws IOException {
    byte[] attribute = hdfs.getXAttr(link, LINK);
    Matcher side = SIDE.matcher(new String(attribute, StandardCharsets.UTF_8));
    return Link.of(side.matches() ? readWhole(new Path(folder, side.group(1))) : attribute);
  }

  byte[] readWhole(Path path) throws IOException {
    ByteArrayOutputStream whole = new ByteArrayOutputStream();
    try (InputStream in = hdfs.open(path)) {
      in.transferTo(whole);
    }
    return whole.toByteArray();
  }

  /** Brings lines that are linked under their final name; whoever comes second finds that done. */
  private void publish(Path inUse, Path lines) throws IOException {
    try {
      hdfs.rename(inUse, lines, Options.Rename.NONE);
    } catch (FileNotFoundException | FileAlreadyExistsException e) {
      LOG.debug("{} is published already", lines);
    }
  }

  /**
   * Begins a link, with a file for its lines or without.
   *
   * @throws IOException HDFS fails, or the position is before the oldest link that is kept
   */
  Draft begin(Link link, boolean withLines) throws IOException {
    Draft draft = new Draft(link, withLines);
    hdfs.create(draft.open, false).close();
    tell(draft, link, false);
    String floor = floor();
    if (link.name().compareTo(floor) < 0) {
      throw new IOException("Partition " + partition + ": " + link.name() + " lies before " + floor
          + ", the oldest link that is kept: this agent slept, and others went on");
    }
    if (withLines) {
      draft.out = hdfs.create(draft.inUse, false);
    }
    FaultPoint.at("created");
    return draft;
  }

  private String floor() throws IOException {
    return hdfs.getXAttrs(folder).containsKey(FLOOR)
        ? new String(hdfs.getXAttr(folder, FLOOR), StandardCharsets.UTF_8)
        : "";
  }

  /** Says on a link what it holds; of an open one, whose every flush is told, no more than an attribute takes. */
  void tell(Draft draft, Link link, boolean isFinal) throws IOException {
    byte[] text = link.toBytes();
    if (text.length > ATTRIBUTE_BYTES) {
      text = isFinal ? beside(link, text) : partial(link).toBytes();
    }
    hdfs.setXAttr(draft.open, LINK, text, EnumSet.of(XAttrSetFlag.CREATE, XAttrSetFlag.REPLACE));
  }

  private byte[] beside(Link link, byte[] text) throws IOException {
    String name = String.format("side-%s-%016x", link.attempt, Sums.hash(text, 0, text.length));
    try (FSDataOutputStream out = hdfs.create(new Path(folder, name), true)) {
      out.write(text);
      out.hsync();
    }
    return ("{\"side\":\"" + name + "\"}").getBytes(StandardCharsets.UTF_8);
  }

  private static Link partial(Link link) {
    link.marks.clear();
    link.replays.clear();
    link.isPartial = true;
    return link;
  }

  /** How a commit ended. */
  enum Commit { DONE, LOST }

  /**
   * Makes a link that was begun a part of the chain: the one atomic step. Then brings its lines under their name.
   *
   * @return LOST when another writer has the position, or deleted what this one had open
   */
  Commit commit(Draft draft, Link link) throws IOException {
    if (draft.out != null) {
      draft.out.close();
    }
    FaultPoint.at("closed");
    try {
      tell(draft, link, true);
      FaultPoint.at("told");
      hdfs.rename(draft.open, draft.target, Options.Rename.NONE);
    } catch (FileNotFoundException | FileAlreadyExistsException e) {
      if (!isOurs(draft, link)) {
        LOG.warn("Partition {}: {} is not linked, another was first: {}", partition, link.name(), e.getMessage());
        discard(draft);
        return Commit.LOST;
      }
    }
    FaultPoint.at("linked");
    if (draft.lines != null) {
      publish(draft.inUse, draft.lines);
    }
    FaultPoint.at("published");
    return Commit.DONE;
  }

  /** Whether an earlier try of this commit, whose answer was lost, has come through. */
  private boolean isOurs(Draft draft, Link link) throws IOException {
    try {
      return read(draft.target).attempt.equals(link.attempt);
    } catch (FileNotFoundException e) {
      return false;
    }
  }

  /** Gives up what was begun, as far as HDFS can be reached. */
  void discard(Draft draft) {
    try {
      hdfs.delete(draft.open, false);
      if (draft.inUse != null) {
        hdfs.delete(draft.inUse, false);
      }
    } catch (IOException e) {
      LOG.info("{} is left behind, to be deleted by the next writer: {}", draft.open, e.getMessage());
    }
  }
}
