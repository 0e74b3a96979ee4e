"""The grammar's vocabulary and patterns: what parts are called, what manuals state, and how customers ask for it.

`FACTS` pairs ways to state a thing with ways to ask for it; slots in braces are filled by sft.grammar.
"""

from __future__ import annotations

WORDS: dict[str, list[str]] = {
    "device": """dishwasher;washing machine;tumble dryer;oven;hob;microwave;kettle;toaster;blender;food processor;juicer;bread maker;
rice cooker;slow cooker;deep fryer;ice maker;wine cooler;freezer;coffee maker;grinder;vacuum cleaner;steam mop;air purifier;humidifier;
dehumidifier;fan heater;space heater;boiler;thermostat;heat pump;air conditioner;water softener;lawn mower;hedge trimmer;chainsaw;
leaf blower;pressure washer;generator;cordless drill;circular saw;band saw;compressor;welder;paint sprayer;router;modem;access point;
network switch;printer;scanner;projector;monitor;television;soundbar;speaker;headset;camera;doorbell;alarm panel;smoke detector;smart lock;
garage opener;e-bike;scooter;treadmill;rowing machine;massage chair;electric razor;toothbrush;hair dryer;iron;sewing machine;
label maker;shredder;laminator;3D printer;telescope;drone;baby monitor;breast pump;pulse oximeter;scale;aquarium pump;pool robot""".replace("\n", "").split(";"),
    "modifier": """water drip dust main inner outer pump filter motor battery blade door lid bean milk fuel oil air heat sensor control
power drain inlet outlet steam cutter belt chain pressure safety drive roller paper ink lens lamp fan dock charging cooling exhaust
cleaning storage mixing measuring waste soap salt fresh carbon foam pre mounting carry spray suction guide tension gear spindle
shaft crumb grease condenser evaporator display keypad antenna network memory backup release locking""".split(),
    "side": "upper lower left right front rear top bottom side second spare".split(),
    "noun": """tank tray filter brush valve hose seal cover cap knob lever latch switch panel bracket cartridge gasket wheel plate basket
container nozzle grid pad cable plug socket probe ring bin cup clamp screw drawer shelf rack tube funnel strainer adapter charger remote
handle housing button hinge spring fuse bulb board unit head arm foot stand base bag chamber port slot sieve jug bowl drum blade""".split(),
    "clean": "clean/rinse/wipe/wash/flush/descale/brush off/vacuum/dry/soak/disinfect".split("/"),
    "do": "replace/check/inspect/lubricate/tighten/empty/drain/refill/calibrate/adjust/reset/test/charge/sharpen/align/{clean}/{clean}".split("/"),
    "with": """a soft cloth;warm water;mild soap;a dry brush;compressed air;white vinegar;citric acid;a damp sponge;dish soap;
isopropyl alcohol;a cotton swab;silicone grease;machine oil;{name} cleaner;{name} fluid;tap water only;a lint-free cloth""".replace("\n", "").split(";"),
    "period": "day/week/month/year/{small} days/{small} weeks/{small} months/{n} hours/{n} uses/{n} cycles/{n} operating hours/{n} pages".split("/"),
    "duration": "{n} minutes/{n} seconds/{small} hours/{n} hours/about {n} minutes/{small} days".split("/"),
    "color": "red green blue amber orange white yellow purple".split(),
    "blink": "blinks/flashes/lights up/is lit/flashes slowly/blinks rapidly/blinks {small} times/stays on/turns".split("/"),
    "light": "{modifier} light;status light;power light;indicator;LED;ring light;{modifier} indicator;{name} light;charging light;warning light".split(";"),
    "cause": """the {part} is full;the {part} is empty;the {part} is blocked;the {part} is missing;the {part} is not inserted correctly;
the {part} is worn;the {part} is loose;the {part} is dirty;the {part} has overheated;the battery is low;the temperature is too high;
there is no connection to the {part};the lid is open;the voltage is too low;the {part} must be replaced;the {device} needs {clean}ing;
the {device} is charging;an update is being installed;the {part} is jammed;a leak was detected;the {device} is in {mode} mode;
the memory is full;the {part} has failed the self-test;the {device} is heating up;the {device} is ready;the child lock is active""".replace("\n", "").split(";"),
    "remedy": """{do} the {part};remove the {part} and {clean} it;switch the {device} off for {duration};press the {button} button for {small} seconds;
contact customer service;let the {device} cool down for {duration};turn the {part} clockwise;insert the {part} again;order a new {part} ({order});
charge the battery for {duration};close the {part};fill the {part} to the {name} mark;unplug the {device} and wait {duration};
set the {setting} to {n};use {with};move the {device} closer to the {part};tighten the {part} by hand""".replace("\n", "").split(";"),
    "symptom": """the {device} does not start;the {device} stops after {duration};the {part} leaks;the {part} makes a loud noise;the {part} vibrates;
the {part} does not turn;the {part} smells burnt;the display stays dark;the {device} gets very hot;the {part} is stuck;the {device} switches itself off;
the {part} drips;the battery does not charge;the {device} cannot be found;the {part} does not close;the result is uneven;
the {part} rattles;the {device} does not respond;there is no sound;the pressure is too low;the {part} slips""".replace("\n", "").split(";"),
    "button": "Start Power Mode Menu OK Reset Eco Boost Timer Lock Back Plus Minus Set Pair Wash {name} Memory Sync Function".split(),
    "mode": "eco;boost;sleep;night;quiet;turbo;manual;standby;demo;holiday;pairing;service;{name};cleaning;child lock;auto".split(";"),
    "setting": """{mode} timer;brightness;water hardness;temperature;volume;language;speed level;{part} height;cutting depth;sensitivity;
delay;auto-off time;contrast;alarm tone;clock;{name} level;fan speed;humidity target;grind size;{part} pressure""".replace("\n", "").split(";"),
    "function": """switch on {mode} mode;reset the {part};reset the {device};lock the {part};pair the remote;change the {setting};set the clock;
start the {clean}ing program;mute the sound;restore the factory settings;update the firmware;turn off the {part};pause the program;
connect the {device} to the network;delete all data;release the {part};turn off the beep;swap the {setting}""".replace("\n", "").split(";"),
    "where": """behind the {part};under the {part};on the back of the {device};inside the {part};to the left of the {part};below the display;
next to the {part};on the underside;in the {part} compartment;above the {part};at the end of the {part};behind a cover with {small} screws""".replace("\n", "").split(";"),
    "unit": "mm/cm/m/kg/g/L/ml/W/kW/V/A/Hz/dB/°C/bar/psi/rpm/Nm/kPa/mAh/Wh/lumens/m²/l/min/km/h/MB".replace("l/min/km/h", "km").split("/"),
    "attribute": """capacity;weight;width;height;depth;length;rated power;voltage;noise level;operating temperature;maximum pressure;run time;
charging time;range;maximum load;speed;current;frequency;cable length;flow rate;torque;cutting width;diameter;thickness;standby consumption;
resolution;storage temperature;battery life;wireless channel;fuse rating;heating time;coverage area;dust class;warranty""".replace("\n", "").split(";"),
    "bad": """immerse the {part} in water;use {with} on the {part};open the {part} while the {device} is running;cover the {part};
leave the {device} unattended;put the {part} in the dishwasher;use an extension cord;run the {device} without the {part};touch the {part};
stack anything on the {device};lift the {device} by the {part};use the {device} outdoors;store the {device} below {n} °C;mix {with} with {with2};
let children play with the {part};insert metal objects into the {part};operate the {device} near open flames""".replace("\n", "").split(";"),
    "harm": """it will crack;this causes electric shock;the {part2} will warp;you can be burned;the warranty becomes void;the motor is damaged;
fire may result;fingers can be crushed;the coating comes off;the {part2} may burst;this leads to rust;serious injury can result""".replace("\n", "").split(";"),
    "chapter": """Getting started;Before first use;Overview;Operation;Daily use;Settings;Cleaning and care;Maintenance;Troubleshooting;
Technical data;Safety;Installation;Assembly;Accessories;Service and warranty;Storage;Advanced functions;Connectivity;Disposal""".replace("\n", "").split(";"),
    "synonyms": """clean/wash/cleaning/clean up/wash out;rinse/wash/rinse out;replace/change/swap/renew/put in a new;remove/take out/take off/pull out;
light/lamp/led/light thing;blinking/flashing/blinks;flashing/blinking/going on and off;means/is telling me;mean/say/tell me/stand for;
often/frequently/regularly;empty/clear/dump/emptied;show/display/say;shows/says/displays/reads;display/screen;weigh/weight;device/machine/thing/appliance;
much/many/big;capacity/volume/size/how much it holds;start/turn on/begin/get going;stop/turn off/halt;located/found/is it;allowed/ok/okay/permitted/safe;
leaks/is leaking/drips;noise/sound/noisy/racket;loud/noisy;hot/warm/overheated;stuck/jammed/won't move;broken/faulty/not working/defective;
check/look at/inspect;fix/repair/solve/sort out;connect/hook up/link/pair;battery/accu/power pack;button/key/switch;press/push/hit;error/fault/code/problem;
code/error code/message;reset/restart/reboot;program/cycle;long/much time;takes/needs/lasts;take/need/last;tank/reservoir/container;hose/tube/pipe;
cover/lid/cap;tray/dish/pan;factory/default/original;warranty/guarantee;order/buy/get/purchase;use/using;maximum/max/highest/most;minimum/min/lowest;
charge/recharge/power up;temperature/heat/degrees;dirty/filthy/clogged;adjust/change/set/tune;settings/options;noise level/how loud""".replace("\n", "").split(";"),
}

FACTS: list[tuple[list[str], list[str]]] = [
    (
        ["the {part} holds {n} {unit}.", "The {part} has a capacity of {n} {unit}.", "Fill the {part} with no more than {n} {unit}.",
         "Up to {n} {unit} fit into the {part}."],
        ["How much does the {part} hold?", "What is the capacity of the {part}?", "How much can I fill into the {part}?",
         "how big is the {part}", "How much fits in the {part}?", "{part} capacity?"],
    ),
    (
        ["{do} the {part} every {period}.", "The {part} must be checked and if needed replaced every {period}.",
         "Every {period}, {do} the {part}.", "At least once every {period} you should {do} the {part} with {with}.",
         "We recommend to {do} the {part} after {n} hours of use or every {period}, whichever comes first."],
        ["How often should I {do} the {part}?", "How often does the {part} need attention?", "when do i have to {do} the {part}",
         "How frequently must the {part} be looked after?", "What is the interval for the {part}?", "every how many days or months do I {do} the {part}?"],
    ),
    (
        ["If the {light} {blink} {color}, {cause}.", "The {light} {blink} {color} when {cause}.", "{color} {light}: {cause}; {remedy}.",
         "When {cause}, the {light} {blink} {color}.", "A {color} {light} means that {cause}."],
        ["The {light} {blink} {color}, what does that mean?", "What does the {color} light mean?", "light is {color} why?",
         "Why is the {light} {color}?", "my {light} went {color} what now", "What does it mean when the {light} {blink} {color}?", "{light} {color}?"],
    ),
    (
        ["Error {code} means that {cause}.", "The display shows {code} when {cause}; {remedy}.", "If {code} appears, {remedy}.",
         "{code}: {cause}.", "Message {code} appears if {cause}."],
        ["What does {code} mean?", "It shows {code}, what should I do?", "error {code}", "the display says {code}", "How do I fix error {code}?",
         "Why do I get {code}?", "What is the meaning of {code} on the screen?", "{code} on the display help"],
    ),
    (
        ["To {function}, press and hold the {button} button for {small} seconds.", "Press {button} {small} times to {function}.",
         "You can {function} in the {button} menu under {name}.", "To {function}, hold {button} and turn the {part} to {n}.",
         "Hold {button} until the {light} {blink} {color} to {function}."],
        ["How do I {function}?", "how can i {function}", "What do I press to {function}?", "How to {function}?", "Is there a way to {function}?",
         "I want to {function}, how?", "which button lets me {function}", "{function} - how does that work?"],
    ),
    (
        ["WARNING: Do not {bad}, because {harm}.", "WARNING: Never {bad}; {harm}.", "Never {bad}.", "Do not {bad}, otherwise {harm}.",
         "WARNING: If you {bad}, {harm}.", "You must not {bad}."],
        ["Can I {bad}?", "Is it ok to {bad}?", "What happens if I {bad}?", "may i {bad}", "Is it safe to {bad}?", "Am I allowed to {bad}?",
         "why should I not {bad}?"],
    ),
    (
        ["If {symptom}, {remedy}.", "{symptom}: {cause}; {remedy}.", "When {symptom}, check whether {cause} and {remedy}.",
         "If {symptom}, first {remedy}; if that does not help, {remedy2}."],
        ["{symptom}, what should I do?", "Why is it that {symptom}?", "{symptom}", "What can I do if {symptom}?", "help, {symptom}",
         "{symptom} all the time. How do I fix it?", "It seems {symptom}. What now?"],
    ),
    (
        ["Use only {name} {part}s (order number {order}).", "Replacement {part}s are sold under order number {order}.",
         "The {part} is available as an accessory, part number {order}.", "Order the {part} with number {order} from {name}."],
        ["Which {part} do I need?", "What is the part number of the {part}?", "Where do I order a new {part}?", "order number for {part}",
         "What {part} can I use?", "I need a spare {part}, which one?"],
    ),
    (
        ["The {part} is located {where}.", "You find the {part} {where}.", "{where} you see the {part}.", "The {part} sits {where}."],
        ["Where is the {part}?", "Where can I find the {part}?", "where do i look for the {part}", "I can't find the {part}", "Location of the {part}?"],
    ),
    (
        ["{clean}ing the {part} takes {duration}.", "The {mode} program runs for {duration}.", "Let the {part} dry for {duration}.",
         "Charging the {part} takes {duration}.", "After {duration}, the {part} is ready.", "Wait {duration} before you touch the {part}."],
        ["How long does the {part} take?", "How long must I wait for the {part}?", "how many minutes for the {part} or the {mode} program",
         "How much time does the {part} need?", "How long until the {part} is done?", "how long does {mode} run"],
    ),
    (
        ["The factory setting of the {setting} is {n}.", "The {setting} is set to {n} at the factory.", "The {setting} can be set from {small} to {n}.",
         "By default the {setting} stands at {n} {unit}.", "Set the {setting} to {n} for the {mode} program."],
        ["What is the default {setting}?", "What should the {setting} be?", "which {setting} is set at the factory", "What values can the {setting} have?",
         "What {setting} is recommended?", "How high can I set the {setting}?"],
    ),
    (
        ["The {attribute} of the {part} is {n} {unit}.", "The {part} has a {attribute} of {n} {unit}.", "{attribute}: {n} {unit}.",
         "The {device} has a {attribute} of {n} {unit}.", "With the {part}, the {attribute} is {n} {unit} at most."],
        ["What is the {attribute} of the {part}?", "What is the {attribute}?", "{attribute} of the {device}?", "tell me the {attribute}",
         "How high is the {attribute}?", "which {attribute} does the {part} have"],
    ),
    (
        ["{clean} the {part} with {with}.", "Use {with} to {clean} the {part}.", "The {part} may only be cleaned with {with}.",
         "For the {part}, {with} is enough.", "Do not use {with} for the {part}; use {with2}."],
        ["How do I clean the {part}?", "What do I {clean} the {part} with?", "can i use {with} on the {part}", "How should the {part} be cleaned?",
         "What cleaner is right for the {part}?", "best way to {clean} the {part}?"],
    ),
    (
        ["The warranty covers the {part} for {small} years.", "The {part} is not covered by the warranty.", "{name} grants {small} years of warranty on the {part}.",
         "Call {name} service at {phone}.", "Send the {part} to the {name} service center in {name2}."],
        ["How long is the warranty?", "Is the {part} covered by the warranty?", "What is the phone number of {name} service?", "How do I reach {name}?",
         "Who do I call about the {part}?", "warranty on the {part}?"],
    ),
    (
        ["The box contains the {part}, a {part2} and {small} {noun}s.", "Included are a {part}, {small} {noun}s and a {name} {noun}.",
         "The {part} is not included and must be bought separately.", "Supplied parts: {part}, {part2}, {noun}."],
        ["What is in the box?", "Is a {part} included?", "What comes with the {device}?", "does it come with a {part}", "Which parts are supplied?"],
    ),
    (
        ["The {device} may be used at {n} to {n2} °C.", "Keep a distance of {n} {unit} between the {part} and the wall.",
         "Store the {part} in a dry place below {n} °C.", "Mount the {part} at a height of {n} {unit}.", "The {part} must be at least {n} {unit} away from the {part2}."],
        ["How far from the wall must the {part} be?", "Where should I store the {part}?", "At what height do I mount the {part}?",
         "What temperature is allowed?", "how much distance does the {part} need", "Where do I put the {part}?"],
    ),
]

FILLER = """Read these instructions before you use the {device}.;Keep this page for later.;The {part} is made of {name} plastic.;
The pictures may differ from your {device}.;Only trained staff may open the {part}.;See also the chapter on the {part}.;
Thank you for choosing {name}.;This section describes the {part}.;Some models do not have a {part}.;Observe the local rules.;
Make sure that the {device} is switched off.;The {part} works together with the {part2}.;The steps are the same for all models.""".replace("\n", "").split(";")  # fmt: skip

SECTIONS = """About the {part};The {part};Using the {part};Notes;Important information;Care of the {part};Hints;General;{mode} mode;
Setting the {setting};Lights and messages;Good to know;Placing the {device};Everyday use;What to watch for""".replace("\n", "").split(";")

# heading, head row, rows, questions
TABLES: list[tuple[str, str, list[str], list[str]]] = [
    ("Error codes", "Code | Cause | Remedy", ["{code} | {cause} | {remedy}"],
     ["What does {code} mean?", "It shows {code}, what should I do?", "error {code}", "How do I fix {code}?", "the screen says {code}", "why {code}"]),
    ("Specifications", "Item | Value", ["{attribute} | {n} {unit}", "{part} {attribute} | {n} {unit}"],
     ["What is the {attribute}?", "{attribute}?", "tell me the {attribute}", "What {attribute} does it have?", "How much is the {attribute}?"]),
    ("Indicator lights", "Light | Meaning", ["{light} {blink} {color} | {cause}", "{light}, {color} | {cause}; {remedy}"],
     ["The {light} {blink} {color}, what does that mean?", "Why is the {light} {color}?", "What does {color} {light} mean?", "{light} {color}"]),
    ("Maintenance schedule", "Part | Task | Interval", ["{part} | {do} | every {period}", "{part} | {do} with {with} | every {period}"],
     ["How often should I {do} the {part}?", "When do I {do} the {part}?", "What is the interval for the {part}?", "how often {part}"]),
    ("Troubleshooting", "Problem | Cause | Solution", ["{symptom} | {cause} | {remedy}", "{symptom} | {remedy}"],
     ["{symptom}, what should I do?", "{symptom}", "Why is it that {symptom}?", "What can I do if {symptom}?", "help {symptom}"]),
    ("Programs", "Program | Time | Temperature", ["{mode} | {duration} | {n} °C", "{name} | {duration} | {n} °C"],
     ["How long does the {mode} program take?", "How hot is the {name} program?", "what temperature has {mode} or {name}"]),
    ("Accessories", "Part | Order number", ["{part} | {order}", "{part} ({small} pieces) | {order}"],
     ["What is the order number of the {part}?", "part number {part}", "Which number do I order for the {part}?", "I need a new {part}"]),
]  # fmt: skip

STEPS = """switch the {device} off and unplug it.;remove the {part}.;open the {part}.;turn the {part} {small} turns to the left.;
press {button} for {small} seconds.;wait {duration}.;{clean} the {part} with {with}.;insert the new {part}.;close the {part} until it clicks.;
pull the {part} towards you.;loosen the {small} screws.;let the {part} dry for {duration}.;fill the {part} up to the {name} mark.;
check that the {light} {blink} {color}.;hold {button} and switch the {device} on.;choose {name} with the {button} button.;push the {part} back in.;
tighten the {part} by hand.;place the {part} on a flat surface.;confirm with {button}.;set the {setting} to {n}.;run the {mode} program once.""".replace("\n", "").split(";")

# heading, first steps of its own, questions
PROCEDURES: list[tuple[str, list[str], list[str]]] = [
    ("{clean}ing the {part}", ["take the {part} out."], ["How do I {clean} the {part}?", "how to clean the {part}", "Steps to {clean} the {part}?"]),
    ("Replacing the {part}", ["order a new {part}."], ["How do I replace the {part}?", "changing the {part}", "How is the {part} swapped?"]),
    ("Installing the {part}", ["unpack the {part}."], ["How do I install the {part}?", "how does the {part} go in", "How do I fit the {part}?"]),
    ("Removing the {part}", [], ["How do I remove the {part}?", "how do i take the {part} off", "How does the {part} come out?"]),
    ("Setting the {setting}", ["press {button}."], ["How do I set the {setting}?", "change {setting}", "How do I adjust the {setting}?"]),
    ("How to {function}", [], ["How do I {function}?", "how can i {function}", "What are the steps to {function}?"]),
    ("First use of the {part}", [], ["What must I do before I first use the {part}?", "first time using the {part}", "How do I get started with the {part}?"]),
    ("Storing the {device}", [], ["How do I store the {device}?", "putting the {device} away for winter", "What must I do before storage?"]),
]  # fmt: skip
