"""The patterns by which ``final_number`` finds statements, conclusions and what stands beside an answer."""

import re

from laif_helpers.graders import languages

HASHES = re.compile(r"####[ \t]*(?:\n[ \t]*)?(.*)")
BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
LINE = re.compile(  # "A: 10" before "B: 5" is a variable
    r"^[ \t*_>#]*(?:A(?!:[^\n]*\n+[B-Z]:)|Ans|TL;?DR"
    r"|(?:the |my )?(?:final |correct )?(?:answer|result))[*_]*\s*:[*_]*[ \t]*(.+)$",
    re.IGNORECASE | re.M,
)
HEAD = re.compile(
    r"(?i)\banswer[*_]*(?:\s?[(\[][^()\[\]\n]{1,60}[)\]])?(?:\s+(?:to|for|in)\b[^.:\n]{0,80}?)?"
    r"\s*(?:\bis\b|\bwould be\b|\bshould be\b|\bmust be\b|\bequals\b|:|=)[ \t]*:?[*_]*"
)
BEHIND = re.compile(r"[ \t]*(?=\S)(?![|>][-+]?$)(.{1,300})|[ \t]*[|>]?[-+]?\s*\n[\s`]*(.{1,30})$", re.MULTILINE)
# what exact fractions cannot express: roots, constants, functions, unknowns
SYMBOLIC = re.compile(
    r"\\(?:sqrt|pi|sin|cos|tan|log|ln|infty|binom|begin|left|e)(?![a-z])|\\[dt]?frac\s*\{(?!\s*-?[\d.,]+\s*\}\s*\{\s*[\d.,]+\s*\})"
    r"|\\\{|[π√∞]|\bsqrt\b|\bpi\b|(?<![a-zA-Z\\])[a-zA-Z]\s?\^|\^\s?\{?[-(]?\d*[a-np-z](?![a-z])"
    r"|\d\s?[-+]\s?\d*\s?i\b|\d(?!e[-+]\d)[a-z]\b\s*[-+]|\(\s?\d*[a-z]\s?[-+]\s?\d+\s?\)|±|\\pm\b"
)
# what only a gold answer may be: x > 3, a point or an interval, x = 1, y = 2, p - q, 1000_2, 5!
FORMULA = re.compile(
    r"\\(?:in|cup|cap|leq?|geq?|neq?|emptyset|varnothing)(?![a-z])|[\w)}]\s?[<>≤≥≠]=?\s?[-\w(\\]"
    r"|\A\s*[(\[](?=.*\d)[^()\[\]A-Z]+,[^()\[\]A-Z]+[)\]]\s*\Z|\A[a-z]\s?=[^=,]+(?:,[^=,]*[a-z]\s?=[^=,]+)+\Z"
    r"|\A(?=.*[a-z])(?!.*[a-z]{2})[\d\sa-z()]+(?:[-+*/^][\d\sa-z()]+)+\Z|\A\d+_\{?\d{1,2}\}?\Z|\A\d+!\Z"
)
# a box that holds a product or a sum and not its value
UNWORKED = re.compile(r"(?!.*=).*(?:\d\s*(?:\\cdot|\\times|[*·×+])\s*\d|\d!|\}\s*[-+]\s*\\?[df\d])", re.DOTALL)
HEADING = re.compile(
    r"(?i)(?:step|part|day|case|question|option|phase|solution|method|problem|explanation|conclusion|summary)\b|.*:\s*$"
)
# "75 minutes = 1.25 hours": the question tells which side answers it
CONVERTS = re.compile(r"(?!.*\b(?:x|times)\b)[^-+*/×÷=]*\d\s?[a-z/]+\s*\(?=\s*\$?\d[\d.,]*\s?[a-z/]+\W*\Z", re.I)
LIST = re.compile(r"\A\s*(-?[\d.]+)(?:(?:,|\\text\s?\{,\})\s+|\s*(?:\\text\s?\{\s?and\s?\}|\band\b)\s*)(-?[\d.]+)\s*\Z")
LISTED = re.compile(r"\d{1,2}[.)]\s+\S")
LEADS = re.compile(
    r"(?i)[\s:*_`~≈(\[\"'<$=]*(?:(?:about|approx\w*|roughly|exactly|only|around|just|a total of)\s+)?[\s*_`(\[\"'$]*"
)
ROUNDED = re.compile(
    r"(?i)≈|\\approx|\bround(?:s|ed|ing)?(?: it)?(?: (?:up|down|off))? to(?! the| \d+ (?:decimal|significant))"
    r"|\bbut (?:it|this|that)(?:'s| is) (?:actually|really|in fact)\b"
)
SENTENCE = re.compile(
    r"(?<=[^\d\s][.!?])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bvs\.)\s+"
    r"|(?<=\d[.!?])\s+(?=[A-Z])|\n+"
)

CONCLUDES = re.compile(
    rf"(?i)^\W*(?:therefore|thus|so|hence|in total|in conclusion|finally|altogether|this means)\b|="
    rf"|^\W*(?:{languages.CONCLUDES})"
)
ASIDE = re.compile(
    r"(?i)^\s*\([^()\n]*\)[\s.]*\Z"
    r"|^\W*(?:note|confidence|please|(?:(?:let me|let's|to|i can) )?(?:double[- ]?)?(?:check|verif)|assuming|p\.?s\b"
    r"|let me know|feel free|i hope|hope|remember|if you(?:'d| have| need| want| would| like| wish| still)\b"
    r"|for example|for instance|explanation|once\b|because\b[^,]*\Z|.*\?\W*\Z)"
)
SUPPOSES = re.compile(
    r"(?i)^\W*(?:however,? )?(?:if|suppose|assuming|please|once|when|for example|(?:could|can) you)\b"
)
# "That's 50% more than in April." and "If she did this all week, she would make $126." behind an answer
BESIDE = re.compile(r"(?i)^\W*(?:(?:that|this)(?:'s| is) [\d.]+\s?% (?:more|less|of)\b|if\b[^=]*\bwould\b[^=]*\Z)")
EXPLAINS = re.compile(
    r"(?i)(?:\n|[.!] )[^\w\n]{0,20}_{0,3}(?:here(?:'s| is| are) (?:the|how|why|my|a)\b|explanation|reasoning"
    r"|breakdown|(?:notes|references|sources|working):|step[- ]by[- ]step"
    r"|(?:the |my )?(?:key |main |following )?steps\b[^\n]{0,60}:[ \t]*\n)"
    r"|(?<=\A)[\W_]*\d[\d.,]*(?: [a-z]+)?[.*\s]*\n[ \t]*\n"
)
# "$18. She has 16 - 7 = 9 eggs"; "18. She" may be the eighteenth of a list
LEAD = re.compile(r"[\W_]*(?:\$\d(?:[\d.,]*\d)?\b|\d{3,}\b|\d[\d.,]* [a-z]+)[.!*]+\s+(?=[A-Z])")
SAYS_SO = re.compile(r"(?i)\b(?:therefore|thus|so|hence|total|altogether|answer|leaves|leaving|which (?:is|means))\b")
CONTINUES = re.compile(
    r"(?i)\b(?:which|that|this)\s+(?:is|equals|makes|gives|totals|comes to)\b|\bequals?\b|\bor\b|\bi\.e\.|→|⇒|=>|:"
)
EXPRESSION = re.compile(r"[\s:*_`$(\[]*\$?\d[\d.,]*\s*(?:[-−+*/×÷]|\b(?:x|plus|minus|times)\b)\s*\$?\d")
NOTHING = re.compile(
    r"(?i)\bno(?= (?:more )?(?:[a-z]+ ){1,2}(?:left|remain(?:s|ing)?)\b)|\bnothing(?= (?:is |was )?(?:left|remains)\b)"
    r"|(?:n't|\bnot) (?:have )?any(?= (?:[a-z]+ ){0,2}(?:left|remaining)\b)"
)
# "12, not 11"; "not 11, but 12"; "isn't 11, it's 12"; "The answer is not 11."
REJECTED = re.compile(
    r"(\d[)*]*(?:\s+[^\W\d]+){0,2})\s*(?:,|\band\b|\bbut\b|\()[\s,]*not\s+\$?\d[\d.,]*(?<=\d)"
    r"|(?<![\d.])\$?\d[\d.,]*(?<=\d) (?:is|was) (?:wrong|incorrect|not (?:right|correct))\b"
    r"|(?:n['’]t|\b(?:can)?not)(?: be| equal(?: to)?)?\s+\$?\d[\d.,]*(?<=\d)(?:(?:\s+[a-z]+){0,2}(?:\W*\Z|[.;!]\s)"
    r"|(?:\s+[a-z]+){0,2}[,;]?\s+(?=but\s+\$?\d|(?:it|that)(?:['’]s| is)\b))"
)
# "24 [1][2]": what an answer cites
CITES = re.compile(r"(?<=[\d.!?)])\s?(?:\[\^?\d{1,2}\])+(?=\s|[.,;]|\Z)")
UNIT_DOT = re.compile(r"(?<=\d )(hrs?|mins?|ft|lbs?|yrs?)\.(?= \d)")
# "3. Give the total" is the third step of a list, unless the text begins with it
LIST_MARK = re.compile(r"(?:\A(?=\W*1\b)|(?<=\n))[ \t]*(?:[-*•][ \t]+)?\**\d{1,2}[.)]\**[ \t]+(?=[^\s\d$=])")

# a last line that says a bound or a range and no number: "More than 42.", "40-42 eggs"
VAGUE = re.compile(
    r"(?i)[^\d\n]{0,80}?(?:\b(?:more|less|fewer|greater) than\s\W{0,3}\d[\d,.]*|\b(?:before|after)\s\d{4}"
    r"|[<>≠]\s?(?![\d,.]*>)\d[\d,.]*"
    r"|(?<![\d.])(\d{1,9})\s?[-–]\s?(\d{1,9}))"
    r"(?:\s[a-z]+){0,3}\W*"
)
LOSS = r"\b(?:loss|deficit) of\s(?:\w+\s)?\W{0,3}"
DOWN = (
    rf"(?:{LOSS}|\b(?:decrease|drop|decline|reduction|fall) of\s\W{{0,3}}|\b(?:lost|lose)\s\W{{0,3}}"
    r"|\b(?:decreased|dropped|fell|declined|went down|reduced)(?: by)?\s\W{0,3})"
)
GAIN_ASKED = re.compile(r"(?i)\b(?:profit|gain|net (?:income|result|change))\b(?!.*\b(?:loss|los[et]\w*)\b)")
REMAINDER = re.compile(r"(?<=\d)(?: [a-z]+)?,?(?: (?:with|and))?(?: an?)? (?:remainder(?: of)? |R ?)\d+\b")
