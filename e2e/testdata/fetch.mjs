// Prints the bodies of the URLs: node's fetch.
for (const url of process.argv.slice(2)) {
  const answer = await fetch(url);
  process.stdout.write(await answer.text());
}
