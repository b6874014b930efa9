# Reads a coverage profile (go test -coverprofile) and prints how much of each
# package is covered, in statements, then of wg's core, whose files are those
# that wg/doc.go lists under "The core:", and of everything. Fails if the core is
# covered by less than LEAST percent.

BEGIN {
	if (LEAST == "") LEAST = 90
	while ((getline line < "wg/doc.go") > 0) {
		if (line ~ /^\/\/ The core:/) listing = 1
		else if (line ~ /^\/\/ The shell:/) listing = 0
		else if (listing && split(line, word, /[ \t]+/) > 1 && word[2] ~ /\.go$/) core["adit/wg/" word[2]] = 1
	}
	for (f in core) files++
	if (!files) { print "cover: wg/doc.go lists no core"; failed = 1; exit 1 }
}

# adit/wg/aead.go:12.34,15.2 2 1: file, from, to, statements, how often
/^adit\// {
	file = $1; sub(/:.*/, "", file)
	if (!($1 in size)) { size[$1] = $2; where[$1] = file }
	if ($3 > 0) hit[$1] = 1
}

function percent(of, out) { return out ? sprintf("%5.1f %%", 100 * of / out) : "    - %" }

END {
	if (failed) exit 1
	for (s in size) {
		file = where[s]; pkg = file; sub(/\/[^\/]*$/, "", pkg)
		all[pkg] += size[s]; total += size[s]
		if (file in core) coreAll += size[s]
		if (s in hit) {
			of[pkg] += size[s]; totalOf += size[s]
			if (file in core) coreOf += size[s]
		}
	}
	for (pkg in all) printf "%s  %s\n", percent(of[pkg], all[pkg]), pkg | "sort -k3"
	close("sort -k3")
	printf "%s  wg's core: %d of %d statements in %d files\n", percent(coreOf, coreAll), coreOf, coreAll, files
	printf "%s  everything, by unit tests\n", percent(totalOf, total)
	if (!coreAll || 100 * coreOf / coreAll < LEAST) {
		printf "cover: the core of wg is covered by less than %d %%\n", LEAST
		exit 1
	}
}
