# Prints the bodies of the URLs: perl's HTTP::Tiny.
use strict;
use warnings;
use HTTP::Tiny;

for my $url (@ARGV) {
    my $answer = HTTP::Tiny->new(timeout => 30)->get($url);
    die "$answer->{status} $answer->{content}" unless $answer->{success};
    print $answer->{content};
}
